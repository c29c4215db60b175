//! The beginning of a session: a socket that HTTP has let go, and what is spoken on it.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tracing::debug;
use uuid::Uuid;

use super::{
    Session,
    dialect::{Centrifugo, Dialect, Plain, Sse, StatusStream},
    socket::Socket,
};
use crate::{
    fanout::Fanout,
    id::{RoomName, UserId},
    node::{Budget, Grant, Identity, Node, RequestHead},
    protocol::plain::Since,
};

/// A socket that has just been taken over from HTTP.
#[derive(Debug)]
pub struct Upgraded {
    /// The stream.
    pub stream: TcpStream,
    /// What was read from it behind the request.
    pub glued: Bytes,
    /// The other end.
    pub peer: SocketAddr,
    /// What it speaks.
    pub way: WayIn,
}

/// What a session speaks.
#[derive(Debug, Clone)]
pub enum WayIn {
    /// Centrifugo JSON.
    Centrifugo {
        /// Whether pings are WebSocket's own instead of the protocol's.
        has_native_pings: bool,
        /// Who it says it is, for as long as it has brought no token.
        uid: UserId,
        /// The request that it came with, where somebody may ask for it.
        head: Option<Arc<RequestHead>>,
    },
    /// Plain broadcast.
    Plain {
        /// Who it is, and its right to the room.
        admitted: (Identity, Grant),
        /// Where.
        room: RoomName,
        /// What it wants to have first.
        since: Since,
        /// The head of the 101, which is not written yet.
        head: Bytes,
    },
    /// Server-sent events. Nothing of the answer is written yet.
    Sse {
        /// Who it is, and its right to the room.
        admitted: (Identity, Grant),
        /// Where.
        room: RoomName,
        /// What it wants to have first.
        since: Since,
        /// The head of the answer.
        head: Bytes,
        /// The answer instead, if the room can't be had.
        refusal: Bytes,
    },
    /// The node's status, once a second.
    Status {
        /// How many rooms it shows.
        rooms_max: usize,
    },
}

/// Serves one socket to its end, in a task of its own on `sessions`. `held` is dropped behind it.
pub fn spawn<F: Fanout>(
    node: Arc<Node<F>>,
    upgraded: Upgraded,
    held: impl Send + 'static,
    sessions: &TaskTracker,
) {
    let Upgraded {
        stream,
        glued,
        peer,
        way,
    } = upgraded;
    let client = Uuid::new_v4().to_string();
    debug!(client, %peer, user = ?way.user(), way = way.label(), "session began");
    let limits = &node.config().limits;
    let budget = limits.commands_per_second.map(Budget::new).map(Box::new);
    let socket = match way {
        WayIn::Sse { .. } => Socket::one_way(stream),
        _ => Socket::new(stream, limits.message_bytes),
    };
    let start = Start {
        node,
        socket,
        client,
        glued,
        peer,
        held,
    };
    match way {
        WayIn::Centrifugo {
            has_native_pings,
            uid,
            head,
        } => start.speak(
            Centrifugo::new(has_native_pings, uid, head, budget),
            sessions,
        ),
        WayIn::Plain {
            admitted,
            room,
            since,
            head,
        } => start.speak(Plain::new(room, since, admitted, head, budget), sessions),
        WayIn::Sse {
            admitted,
            room,
            since,
            head,
            refusal,
        } => start.speak(Sse::new(room, since, admitted, head, refusal), sessions),
        WayIn::Status { rooms_max } => start.speak(StatusStream::new(rooms_max), sessions),
    }
}

/// What every session begins with.
struct Start<F: Fanout, H> {
    node: Arc<Node<F>>,
    socket: Socket,
    client: String,
    glued: Bytes,
    peer: SocketAddr,
    held: H,
}

impl<F: Fanout, H: Send + 'static> Start<F, H> {
    /// Each way in has tasks of its own size: who is idle pays for what it speaks, and for nothing
    /// else.
    fn speak<D: Dialect<F> + 'static>(self, dialect: D, sessions: &TaskTracker) {
        let session = Session::new(self.node, self.socket, dialect, &self.client);
        sessions.spawn(session.run(self.glued, self.peer, self.held));
    }
}

impl WayIn {
    fn label(&self) -> &'static str {
        match self {
            Self::Centrifugo { .. } => "centrifugo",
            Self::Plain { .. } => "plain",
            Self::Sse { .. } => "sse",
            Self::Status { .. } => "status",
        }
    }

    /// Who it is, as far as that is known before it has said a word.
    fn user(&self) -> Option<&UserId> {
        match self {
            Self::Centrifugo { uid, .. } => Some(uid),
            Self::Plain { admitted, .. } | Self::Sse { admitted, .. } => Some(&admitted.0.user),
            Self::Status { .. } => None,
        }
    }
}
