//! What a peer says and hears on each way in.

use super::{rooms::Rooms, socket::Inbound};
use crate::{
    close::{Close, CloseReason},
    fanout::Fanout,
    notifier::Instruction,
    outbox::Lag,
};

mod centrifugo;
mod plain;

pub(super) use centrifugo::Centrifugo;
pub(super) use plain::Plain;

/// One way in. What it returns as an error ends the session.
pub(super) trait Dialect<F: Fanout>: Send {
    /// Whether the peer has to say who it is before anything else.
    const HAS_LOGIN: bool;

    /// What this way in says for `reason`.
    fn close_code(reason: CloseReason) -> u16;

    /// The session begins.
    fn begin(&mut self, rooms: &mut Rooms<F>) -> impl Future<Output = Result<(), Close>> + Send;

    /// The peer sent a message, to be handled from byte `from` on. Returns where to go on, when
    /// others must run or the peer must take some replies first.
    fn message(
        &mut self,
        rooms: &mut Rooms<F>,
        message: &Inbound,
        from: usize,
    ) -> impl Future<Output = Result<Option<usize>, Close>> + Send;

    /// There are no further messages from this read: what was put together goes out now. Returns
    /// whether all of it did; if not, others must run first.
    fn end_of_turn(
        &mut self,
        rooms: &mut Rooms<F>,
    ) -> impl Future<Output = Result<bool, Close>> + Send;

    /// The server, or the application, wants something of the session.
    fn follow(
        &mut self,
        rooms: &mut Rooms<F>,
        instruction: Instruction,
    ) -> impl Future<Output = Result<(), Close>> + Send;

    /// Whether the peer has said who it is.
    fn is_logged_in(&self) -> bool;

    /// The peer is to be asked whether it is there.
    fn ping(&mut self, rooms: &mut Rooms<F>);

    /// The session is too far behind in one of its rooms.
    fn lagged(&mut self, rooms: &mut Rooms<F>, lag: Lag) -> Result<(), Close>;
}
