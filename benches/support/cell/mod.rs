//! A cell of the study's matrix: one coordination with one delivery, by a trait that is small enough
//! for all of them. Each passes `tests/fanout_suite/cells.rs`.

mod broadcast;
mod feed;
mod hub;
mod pushed;

use std::{
    fmt,
    sync::{Arc, Weak},
};

use bytes::{Bytes, BytesMut};
use slabcast::{
    fanout::{Dialect, Encode, Event},
    feed::LagLimit,
    protocol::plain,
    publication::Publication,
};

pub use self::{
    broadcast::{BroadcastDrained, BroadcastPump, TokioBroadcast},
    feed::FeedCell,
    hub::PushHub,
    pushed::Pushed,
};
use super::sink::Sink;

/// More than a load has in flight: nobody lags, whoever is late. Nothing is reserved for it.
pub const WIDE: LagLimit = LagLimit {
    bytes: 1 << 30,
    messages: 1 << 20,
};

/// The member has lagged, or its room is gone: it gets nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged;

/// One room.
pub trait Cell: Send + Sync + Sized + 'static {
    type Receiver: Receiver;

    /// A room whose members may be so far behind.
    fn open(lag: LagLimit) -> Arc<Self>;

    /// A new member, until its receiver is dropped.
    fn join(self: &Arc<Self>) -> impl Future<Output = Self::Receiver> + Send;

    /// Publishes `batch`, and leaves it empty.
    fn publish(&self, batch: &mut Vec<Publication>) -> impl Future<Output = ()> + Send;

    /// How many are there now.
    fn members(&self) -> impl Future<Output = usize> + Send;
}

/// One member of it.
pub trait Receiver: Send + 'static {
    /// Waits until there is something, writes what the idea takes at once, and returns how many
    /// messages that were.
    fn drain<S: Sink>(&mut self, sink: &mut S) -> impl Future<Output = Result<u64, Lagged>> + Send;
}

/// The frames of every cell: plain broadcast, so that no protocol is a difference between them.
#[derive(Debug)]
struct Frames;

impl Encode for Frames {
    fn dialects(&self) -> usize {
        1
    }

    fn encode(&self, _: Dialect, event: Event<'_>, out: &mut BytesMut) {
        if let Event::Publication(publication, _) = event {
            plain::put_publication(out, publication);
        }
    }
}

/// Each of `batch` as a frame; all in one allocation.
fn encoded(batch: &mut Vec<Publication>) -> Vec<Bytes> {
    let bytes = batch
        .iter()
        .map(|publication| publication.payload.len() + 10);
    let mut out = BytesMut::with_capacity(bytes.sum());
    let frame = |publication: Publication| {
        plain::put_publication(&mut out, &publication);
        out.split().freeze()
    };
    batch.drain(..).map(frame).collect()
}

/// A room that can be left, by what `join` has given out.
trait Leave: Send + Sync + 'static {
    fn leave(&self, slot: usize);
}

/// A receiver that leaves its room when dropped.
pub struct Member<R> {
    receiver: R,
    slot: usize,
    room: Weak<dyn Leave>,
}

impl<R: fmt::Debug> fmt::Debug for Member<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Member").field(&self.receiver).finish()
    }
}

impl<R> Drop for Member<R> {
    fn drop(&mut self) {
        if let Some(room) = self.room.upgrade() {
            room.leave(self.slot);
        }
    }
}

impl<R: Receiver> Receiver for Member<R> {
    fn drain<S: Sink>(&mut self, sink: &mut S) -> impl Future<Output = Result<u64, Lagged>> + Send {
        self.receiver.drain(sink)
    }
}
