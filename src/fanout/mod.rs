//! Fan-out: one room's members, and how what is published reaches them.
//!
//! [`Fanout`] is the contract; [`Registry`] keeps it with a lock, [`Hub`] with an actor. Memory only:
//! no sockets, no HTTP, no JSON. What a frame looks like, an [`Encode`] says.
//!
//! # The contract
//! - **Order.** A room has one order, the same for every member: of publications, joins and leaves.
//! - **Membership.** A member gets every frame that is appended between its admission and its leave,
//!   and no other. It leaves exactly once, when its [`Membership`] is dropped; a slot's next owner is
//!   never touched by that.
//! - **Recovery.** History snapshot and admission are one step: what the snapshot does not hold, the
//!   feed brings, and nothing twice. A publication that skips history has no number, so that it can
//!   be neither missing nor there twice.
//! - **Isolation.** Nobody waits for a member that is stalled, or has lagged. One that falls behind by
//!   more than the room's lag limit, or is [relieved](Fanout::relieve) of what it holds back, is told so,
//!   and its own session decides. Members that only had no time to run yet can be waited for:
//!   [`Pace::WithinReach`].
//! - **Accounting.** For every member, frames appended while it was one = settled + discarded at its
//!   leave + still pending; [`Deliveries`] counts them.
//! - **Told.** When `publish` or `subscribe` returns, every member has been told what it brought. Those
//!   that sleep are woken soon after, about in the order in which they were told.
//! - **Bugs.** A panic in a room's code ends the room, and nothing else: it counts as retired, who had
//!   something in hand is told so, and members are asked to go as by our fault. They get what came
//!   before in whole frames, and leave like everybody else.
//! - **Waiting.** Only where an engine has backpressure. The lock engine never waits; with the actor,
//!   everything waits for a place among its commands and for its answer, and a leave takes effect in
//!   the room's order a little after the membership was dropped.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;

use crate::{
    config::RoomConfig,
    feed::{Feed, FeedBudget},
    history::{HistoryBudget, Kept, Position},
    id::ClientId,
    metrics::Deliveries,
    notifier::Seat,
    publication::{ClientInfo, Publication},
};

mod client;
pub mod engine;
mod growth;
mod hub;
mod lanes;
mod patience;
mod registry;
mod timeline;
mod wake_queue;

pub use hub::Hub;
pub use patience::Patience;
pub(crate) use patience::WAIT_MAX;
pub use registry::Registry;
pub use timeline::Retired;

/// What members are told whose room has been broken by a bug.
const BROKEN: &str = "the room has failed";

/// How a room's frames look to one kind of peer, by its index in the room's [`Encode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dialect(pub u8);

impl Dialect {
    /// The most dialects that a room can have: as many bits as the set of those that grew.
    pub const MAX: usize = 8;
}

/// What happens in a room.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Somebody published; with the place that history gave it, if the room has one and the
    /// publication does not skip it.
    Publication(&'a Publication, Option<Position>),
    /// A member came.
    Join(&'a ClientInfo),
    /// A member left.
    Leave(&'a ClientInfo),
}

/// Turns a room's events into frames. One for each room, so that what is the same in every frame of
/// the room is made once.
pub trait Encode: Send + Sync + fmt::Debug + 'static {
    /// How many dialects there are, [`Dialect::MAX`] at the most.
    fn dialects(&self) -> usize;

    /// Appends one frame for `event`, or nothing if this dialect has no word for it.
    ///
    /// Called under the room's order, for each event once in each dialect that has members.
    fn encode(&self, dialect: Dialect, event: Event<'_>, out: &mut BytesMut);
}

/// An encoder with one dialect, which has a word for publications only.
impl Encode for fn(&Publication, &mut BytesMut) {
    fn dialects(&self) -> usize {
        1
    }

    fn encode(&self, _: Dialect, event: Event<'_>, out: &mut BytesMut) {
        if let Event::Publication(publication, _) = event {
            self(publication, out);
        }
    }
}

/// What a room is made with.
#[derive(Debug)]
pub struct RoomSetup {
    /// Its options.
    pub config: RoomConfig,
    /// Its frames.
    pub encoder: Box<dyn Encode>,
    /// Where its deliveries are counted.
    pub deliveries: Arc<Deliveries>,
    /// What its history may take, with all others.
    pub history_budget: Arc<HistoryBudget>,
    /// What its feeds may take, with all others.
    pub feed_budget: Arc<FeedBudget>,
}

/// Somebody who wants in.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// Who it is.
    pub info: Arc<ClientInfo>,
    /// How it wants its frames.
    pub dialect: Dialect,
    /// How it is told about them.
    pub seat: Arc<Seat>,
}

/// What a newcomer wants of what it missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatchUp {
    /// Nothing.
    Nothing,
    /// Everything after `offset` of `epoch`, or nothing.
    Recover {
        /// The life of the numbering that the offset is from; empty if it was never learnt.
        epoch: String,
        /// The last publication that it had.
        offset: u64,
    },
    /// Whatever is still there after `offset`, from the beginning if `epoch` is another.
    Available {
        /// The life of the numbering that the offset is from, unless it means the present one.
        epoch: Option<String>,
        /// The last publication that it had.
        offset: u64,
    },
}

/// What a newcomer finds.
#[derive(Debug)]
pub struct Admission<F: Fanout> {
    /// Its place, until dropped.
    pub membership: Membership<F>,
    /// Where its frames come from now on.
    pub feed: Arc<Feed>,
    /// Where history stood at that moment, if the room has one.
    pub position: Option<Position>,
    /// What it had missed, oldest first; none if that can't be recovered.
    pub missed: Option<Vec<Kept>>,
}

/// How much of a batch is published at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// All of it. Members that could not run meanwhile may lag.
    Now,
    /// As much as leaves members that are not stalled within reach: a share of the lag limit, or
    /// nothing while they are still busy with what came before, or while all feeds hold all that they
    /// may. The longer the publisher has waited, the nearer they may come to the limit, and after a
    /// second they are not waited for any more. So nobody is starved by publishers that happen to come
    /// before it every time.
    WithinReach {
        /// Since something of its was taken.
        waited: Duration,
    },
}

/// What became of a batch of publications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Where history stands after it, if the room has one.
    pub position: Option<Position>,
    /// How many members it goes to.
    pub members: usize,
    /// Where those are that it waits for, if it does and nothing was taken. While this stays the same,
    /// whoever is furthest behind has taken nothing.
    pub waits_at: Option<u64>,
}

/// A part of a room's history.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// The publications, in the order that was asked for.
    pub publications: Vec<Kept>,
    /// Where history stands.
    pub position: Position,
}

/// Which part of a room's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// How many publications at the most.
    pub limit: usize,
    /// Only what comes after this offset of this epoch; with `is_reverse`, only what comes before.
    pub since: Option<(String, u64)>,
    /// Newest first.
    pub is_reverse: bool,
}

/// Why a history can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryRefusal {
    /// The room keeps none.
    Off,
    /// The position is of another epoch, or ahead of the present.
    UnrecoverablePosition,
}

/// Whether a room can be let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Vacancy {
    /// No: somebody is there, or on the way in.
    Occupied,
    /// Only with what it remembers: nobody is there, and its history keeps it.
    Remembered,
    /// It is retired.
    Retired,
}

impl Vacancy {
    /// Whether the room is retired.
    #[must_use]
    pub fn is_retired(self) -> bool {
        self == Self::Retired
    }
}

/// What a room holds at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomStatus {
    /// Members now.
    pub clients: usize,
    /// Frames that members have still to get, summed over members.
    pub pending: u64,
    /// Bytes of encoded frames held for them, all dialects together.
    pub feed_bytes: usize,
    /// Publications numbered so far, if the room has a history.
    pub offset: u64,
}

/// One room's members and frames. The [module](self) states the contract.
///
/// `publish` and `subscribe` can find the room retired: then it was let go between being looked up and
/// being used, nothing has happened, and the caller looks it up again. The others then find it empty,
/// which it was.
pub trait Fanout: Send + Sync + fmt::Debug + Sized + 'static {
    /// What the engine is called, in `/status` and logs.
    const NAME: &'static str;

    /// A new room.
    fn open(setup: RoomSetup) -> Arc<Self>;

    /// Numbers, remembers and encodes of `batch` what `pace` allows, in its order, and tells every
    /// member. What was taken is drained; what is left is for the next call, once members have had
    /// time to run.
    fn publish(
        &self,
        batch: &mut Vec<Publication>,
        pace: Pace,
    ) -> impl Future<Output = Result<Receipt, Retired>> + Send;

    /// Admits `newcomer` and gives it what it wants of what it missed, as one step in the room's
    /// order.
    fn subscribe(
        self: &Arc<Self>,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> impl Future<Output = Result<Admission<Self>, Retired>> + Send;

    /// Ends a membership; only [`Membership`] calls it, once. Must not wait.
    fn leave(&self, id: ClientId);

    /// Who is there now.
    fn presence(&self) -> impl Future<Output = Vec<Arc<ClientInfo>>> + Send;

    /// A part of what was published lately.
    fn history(
        &self,
        query: HistoryQuery,
    ) -> impl Future<Output = Result<HistoryPage, HistoryRefusal>> + Send;

    /// Forgets what was published. The numbering goes on, so whoever missed something of it is told
    /// that it can't be recovered. An engine that can't forget says that it has no history.
    fn remove_history(&self) -> impl Future<Output = Result<(), HistoryRefusal>> + Send {
        async { Err(HistoryRefusal::Off) }
    }

    /// What the room holds.
    fn status(&self) -> impl Future<Output = RoomStatus> + Send;

    /// Lets go of what time has made useless.
    fn tidy(&self, now: Instant) -> impl Future<Output = ()> + Send;

    /// Lets go of what everybody has had, and of what only members have not that were stalled for so
    /// `long` at the time `now`: they have lagged, and are told so. An engine that keeps nothing for
    /// them has nothing to do.
    fn relieve(&self, _long: Duration, _now: Instant) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Retires the room if it has neither members nor history, and tells what keeps it if not. Must
    /// not wait: it is called when a membership is dropped.
    fn retire_if_vacant(&self, now: Instant) -> Vacancy;

    /// Retires the room if it has no members, whatever it remembers, and tells whether it is retired.
    /// Its history ends here: the room's successor has an epoch of its own, so whoever missed
    /// something is told that it can't be recovered. Must not wait. An engine that can't forget
    /// retires nothing.
    fn retire_if_deserted(&self) -> bool {
        false
    }
}

/// A place in a room, left exactly once: when this is dropped.
#[derive(Debug)]
pub struct Membership<F: Fanout> {
    room: Arc<F>,
    id: ClientId,
}

impl<F: Fanout> Membership<F> {
    /// For engines: the membership that `room` has just given out as `id`.
    pub fn new(room: Arc<F>, id: ClientId) -> Self {
        Self { room, id }
    }

    /// The room.
    #[must_use]
    pub fn room(&self) -> &Arc<F> {
        &self.room
    }

    /// Which place in it.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.id
    }
}

impl<F: Fanout> Drop for Membership<F> {
    fn drop(&mut self) {
        self.room.leave(self.id);
    }
}
