//! What a peer says and hears on each way in.

use super::{
    clock::Rhythm,
    rooms::{Gap, Rooms},
    socket::{Inbound, Socket},
};
use crate::{
    close::{Close, CloseReason},
    fanout::Fanout,
    id::RoomName,
    node::Budget,
    notifier::Instruction,
};

mod centrifugo;
mod plain;
mod sse;
mod status;

pub(super) use centrifugo::Centrifugo;
pub(super) use plain::Plain;
pub(super) use sse::Sse;
pub(super) use status::StatusStream;

/// What somebody is told who gives more commands than he may.
fn over_budget(budget: &Budget) -> String {
    let per_second = budget.per_second();
    format!("more than {per_second} a second (limits.commands_per_second), slow down")
}

/// One way in. What it returns as an error ends the session.
pub(super) trait Dialect<F: Fanout>: Send {
    /// What happens by itself here.
    const RHYTHM: &'static Rhythm = &Rhythm::PINGS;

    /// What this way in says for `reason`, where it is WebSocket.
    fn close_code(reason: CloseReason) -> u16 {
        reason.plain_code()
    }

    /// The last word, for `end`: a close frame, where there are such things.
    fn put_end(&self, end: &Close, socket: &mut Socket, out: &mut Vec<u8>) {
        let code = end.code.unwrap_or_else(|| Self::close_code(end.reason));
        socket.put_close(code, end.frame_text(), out);
    }

    /// The session begins.
    fn begin(&mut self, rooms: &mut Rooms<F>) -> impl Future<Output = Result<(), Close>> + Send;

    /// The peer sent a message, to be handled from byte `from` on. Returns where to go on, when
    /// others must run or the peer must take some replies first. What is said by a peer that is there
    /// to listen is passed over.
    fn message(
        &mut self,
        _rooms: &mut Rooms<F>,
        _message: &Inbound,
        _from: usize,
    ) -> impl Future<Output = Result<Option<usize>, Close>> + Send {
        std::future::ready(Ok(None))
    }

    /// There are no further messages from this read: what was put together goes out now. Returns
    /// whether all of it did; if not, others must run first.
    fn end_of_turn(
        &mut self,
        _rooms: &mut Rooms<F>,
    ) -> impl Future<Output = Result<bool, Close>> + Send {
        std::future::ready(Ok(true))
    }

    /// The server, or the application, wants something of the session.
    fn follow(
        &mut self,
        rooms: &mut Rooms<F>,
        instruction: Instruction,
    ) -> impl Future<Output = Result<(), Close>> + Send;

    /// The right to be in one of its rooms has ended.
    fn expired(&mut self, _rooms: &mut Rooms<F>, _room: &RoomName) -> Result<(), Close> {
        Err(CloseReason::Expired.into())
    }

    /// Whether the peer has said who it is.
    fn is_logged_in(&self) -> bool {
        true
    }

    /// The peer is to be asked whether it is there.
    fn ping(&mut self, rooms: &mut Rooms<F>);

    /// An interval of the rhythm's has passed.
    fn tick(&mut self, _rooms: &mut Rooms<F>) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Appends that something was left out for a session that was too far behind.
    fn put_gap(&self, gap: &Gap, out: &mut Vec<u8>);
}
