//! What the embedder decides itself: who may connect, be where and say what, and what calls do.

use std::{fmt, net::SocketAddr, sync::Arc};

use ::http::{HeaderMap, Uri};
use serde_json::value::RawValue;

use super::{
    Node,
    access::{Credentials, Grant, Identity},
    error::AccessError,
};
use crate::{
    fanout::Fanout,
    id::{RoomName, UserId},
    protocol::centrifugo::ErrorCode,
    publication::{ClientInfo, Publication},
};

/// What the embedder decides itself. Every question has the server's own answer unless it is asked
/// here; whatever the server API and the embedder do themselves is not asked about.
///
/// A hook is awaited by the connection that it is about, which reads and writes nothing meanwhile, not
/// even its close: bound what may take long by [`tokio::time::timeout`]. It holds up nobody else, but
/// its client lags if more is said meanwhile than its rooms hold for it. Where it is about a request
/// (`/ws/{room}`, `/sse/{room}`), it is dropped with that if the peer goes: spawn what has to be
/// finished. One that panics ends its connection, or has its request answered with 500.
///
/// ```
/// use std::sync::Arc;
/// use slabcast::{
///     fanout::Fanout,
///     id::UserId,
///     node::{AccessError, Arrival, Hooks, Identity, Node},
/// };
///
/// struct Cookies;
///
/// impl<F: Fanout> Hooks<F> for Cookies {
///     async fn connect(
///         &self,
///         _: &Arc<Node<F>>,
///         arrival: Arrival<'_>,
///     ) -> Result<Option<Identity>, AccessError> {
///         match arrival.head.headers.get("cookie") {
///             Some(cookie) if cookie == "session=42" => {
///                 Ok(Some(Identity::of(UserId::parse("ann")?)))
///             }
///             _ => Err(AccessError::Unproven("log in first".to_owned())),
///         }
///     }
/// }
/// ```
pub trait Hooks<F: Fanout>: Send + Sync + 'static {
    /// Who that is. None leaves it to the server: tokens, and what the configuration says about those
    /// who have none. Asked at a connection's beginning, once its request or its handshake is found to
    /// be one, and when it brings a new token.
    ///
    /// # Errors
    /// Why it may not connect.
    fn connect(
        &self,
        node: &Arc<Node<F>>,
        arrival: Arrival<'_>,
    ) -> impl Future<Output = Result<Option<Identity>, AccessError>> + Send {
        let _ = (node, arrival);
        async { Ok(None) }
    }

    /// Whether he may be in that room. None leaves it to the server: subscription tokens, and the
    /// room's options. Asked before he joins, and when he wants to know what goes on there or publish
    /// there without having joined.
    ///
    /// # Errors
    /// Why he may not.
    fn subscribe(
        &self,
        node: &Arc<Node<F>>,
        wish: Wish<'_>,
    ) -> impl Future<Output = Result<Option<Grant>, AccessError>> + Send {
        let _ = (node, wish);
        async { Ok(None) }
    }

    /// What becomes of a publication of a client's, which may publish there by the room's options: it
    /// itself, another one in its place, or nothing.
    ///
    /// # Errors
    /// Why it may not be. A peer that speaks plain broadcast has no other way to learn it than the end
    /// of its connection.
    fn publish(
        &self,
        node: &Arc<Node<F>>,
        client: &ClientInfo,
        room: &RoomName,
        publication: Publication,
    ) -> impl Future<Output = Result<Option<Publication>, AccessError>> + Send {
        let _ = (node, client, room);
        async { Ok(Some(publication)) }
    }

    /// Answers a call (`rpc` of Centrifugo's protocol) with a JSON value.
    ///
    /// # Errors
    /// What the caller is told instead.
    fn rpc(
        &self,
        node: &Arc<Node<F>>,
        client: &ClientInfo,
        method: &str,
        data: Option<&RawValue>,
    ) -> impl Future<Output = Result<Box<RawValue>, RpcError>> + Send {
        let _ = (node, client, data);
        let error = RpcError::no_such_method(method);
        async { Err(error) }
    }

    /// A client has come into a room: it hears what is published from here on.
    fn joined(
        &self,
        node: &Arc<Node<F>>,
        client: &ClientInfo,
        room: &RoomName,
    ) -> impl Future<Output = ()> + Send {
        let _ = (node, client, room);
        async {}
    }

    /// A client has left a room, once for each time that it joined, whatever ended it.
    fn left(
        &self,
        node: &Arc<Node<F>>,
        client: &ClientInfo,
        room: &RoomName,
    ) -> impl Future<Output = ()> + Send {
        let _ = (node, client, room);
        async {}
    }
}

/// The request that a connection began with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RequestHead {
    /// The other end; a proxy, where there is one.
    pub peer: SocketAddr,
    /// What was asked for, as it was written.
    pub uri: Uri,
    /// Its header lines.
    pub headers: HeaderMap,
}

/// Somebody who wants to connect.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Arrival<'a> {
    /// The request that it came with.
    pub head: &'a RequestHead,
    /// What it says it is.
    pub credentials: Credentials<'a>,
    /// What it says besides, where there is a place for that.
    pub data: Option<&'a RawValue>,
}

/// Somebody who wants to be in a room.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Wish<'a> {
    /// Who.
    pub user: &'a UserId,
    /// Which of his connections, where that has a name already.
    pub client: Option<&'a ClientInfo>,
    /// Where.
    pub room: &'a RoomName,
    /// What he brings to prove that he may. Mostly nothing.
    pub token: &'a str,
    /// What he says besides, where there is a place for that.
    pub data: Option<&'a RawValue>,
}

/// What a caller is told instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// A number of the application's, from 400 to 1999; what is below is the protocol's.
    pub code: u32,
    /// What it means.
    pub message: String,
}

impl RpcError {
    /// Nobody knows that method.
    #[must_use]
    pub fn no_such_method(method: &str) -> Self {
        Self {
            code: ErrorCode::MethodNotFound.code(),
            message: ErrorCode::MethodNotFound.message(&format!("{method:?}")),
        }
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for RpcError {}
