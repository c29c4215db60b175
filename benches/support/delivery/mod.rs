//! The axis of delivery: how a frame gets from whoever walks the members to the task that writes it.
//!
//! Here are those that hand each member its own; the shared feed and `tokio::sync::broadcast`, which
//! hand nobody anything, are cells of their own.

mod copied;
mod mpsc;
mod outbox;
pub mod shared_bytes;

use std::fmt;

use bytes::Bytes;
use slabcast::feed::LagLimit;

pub use self::{
    mpsc::{Drained, Mpsc, WritePump},
    outbox::Outboxed,
};
use super::cell::Receiver;

/// Outboxes whose bytes are copied in, and of references to frames that all share.
pub type Copied = Outboxed<Vec<u8>>;
pub type SharedBytes = Outboxed<Vec<Bytes>>;

/// Slices that one write takes at the most: four times as many as the library's outbox, since here
/// each is a message and not a batch of them.
pub const SLICES_MAX: usize = 256;

/// How frames reach one member.
pub trait Delivery: fmt::Debug + Send + Sync + 'static {
    const NAME: &'static str;

    /// The room's end of it. Cheap to clone, for coordinations that copy.
    type Mailbox: Clone + fmt::Debug + Send + Sync + 'static;
    type Receiver: Receiver;

    /// Both ends, for a member that may have so much before it.
    fn open(lag: LagLimit) -> (Self::Mailbox, Self::Receiver);

    /// Hands over `frames`. Never waits: whoever has no room for them has lagged, and gets nothing
    /// more.
    fn push(mailbox: &Self::Mailbox, frames: &[Bytes]);
}
