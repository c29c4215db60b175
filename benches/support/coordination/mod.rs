//! The axis of coordination: who may touch a room's members when.
//!
//! Most of it is where the members are kept, [`Members`]; what has an order is then kept as in the
//! library, under a mutex of its own, so that these differ in nothing else. [`OneMutex`] and
//! [`SingleHub`] differ in more.

mod mutex;
mod one_mutex;
mod ordered;
mod rw_lock;
mod sharded;
mod single_hub;
mod snapshot;
mod std_rw_lock;

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::MutexGuard;
use slab::Slab;

pub use self::{
    mutex::Mutexed, one_mutex::OneMutex, ordered::Ordered, rw_lock::RwLocked, sharded::Sharded,
    single_hub::SingleHub, snapshot::Snapshot, std_rw_lock::StdRwLocked,
};

/// As the library does it, so that this is no difference to it.
const PUBLISHES_PER_HANDOVER: usize = 32;

/// Hands a publisher's mutex to whoever waits for it every so often, or a publisher that loops would
/// starve a join.
#[derive(Debug, Default)]
pub struct Handover(AtomicUsize);

impl Handover {
    /// Lets go of `guard`, which a publish has held.
    pub fn unlock<T>(&self, guard: MutexGuard<'_, T>) {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        if count.is_multiple_of(PUBLISHES_PER_HANDOVER) {
            MutexGuard::unlock_fair(guard);
        }
    }
}

/// Where a room's members are kept.
///
/// By the slab, and not by the member, so that [`slabcast::fanout::engine`]'s own walk is used on all.
pub trait Members<C>: Default + fmt::Debug + Send + Sync + 'static {
    /// What the idea is called.
    const NAME: &'static str;

    /// Puts `member` in, and tells where.
    fn insert(&self, member: C) -> usize;

    /// Has `take` take the member at `slot` out, if it is still the one that is meant. `take` is
    /// given the slab that holds it, and its place in there.
    fn remove(&self, slot: usize, take: impl FnOnce(&mut Slab<C>, usize) -> Option<C>)
    -> Option<C>;

    /// Shows every slab. Who comes or goes meanwhile is in it or not.
    fn walk(&self, visit: impl FnMut(&Slab<C>));

    /// How many there are.
    fn count(&self) -> usize {
        let mut count = 0;
        self.walk(|slab| count += slab.len());
        count
    }
}
