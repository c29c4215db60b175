//! Sixty-four `RwLock<Slab>`s: whoever comes or goes waits for the walk over one of them only.

use std::{
    array, fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::RwLock;
use slab::Slab;

use super::Members;

const SHARDS: usize = 64;

/// Members spread over shards; the slot `n * SHARDS + shard` is the `n`-th of its shard.
#[derive(Debug)]
pub struct Sharded<C>([Shard<C>; SHARDS]);

/// On a cache line of its own, or two walks would pull at each other's locks.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<C> {
    slab: RwLock<Slab<C>>,
    /// How many are in it, to be looked at without the lock. Who publishes has passed the order mutex
    /// after whoever joined before, and so sees at least them: `Relaxed` is enough.
    count: AtomicUsize,
}

impl<C> Default for Sharded<C> {
    fn default() -> Self {
        Self(array::from_fn(|_| Shard {
            slab: RwLock::new(Slab::new()),
            count: AtomicUsize::new(0),
        }))
    }
}

impl<C> Sharded<C> {
    /// The first of the emptiest, so that shards stay alike however members come and go, and slots are
    /// reused from the front.
    fn emptiest(&self) -> usize {
        let counts = self
            .0
            .iter()
            .map(|shard| shard.count.load(Ordering::Relaxed));
        let least = counts.enumerate().min_by_key(|&(_, count)| count);
        least.map_or(0, |(shard, _)| shard)
    }
}

impl<C: Clone + fmt::Debug + Send + Sync + 'static> Members<C> for Sharded<C> {
    const NAME: &'static str = "sharded";

    fn insert(&self, member: C) -> usize {
        let index = self.emptiest();
        let shard = &self.0[index];
        let mut slab = shard.slab.write();
        shard.count.fetch_add(1, Ordering::Relaxed);
        slab.insert(member) * SHARDS + index
    }

    fn remove(
        &self,
        slot: usize,
        take: impl FnOnce(&mut Slab<C>, usize) -> Option<C>,
    ) -> Option<C> {
        let shard = &self.0[slot % SHARDS];
        let mut slab = shard.slab.write();
        let taken = take(&mut slab, slot / SHARDS)?;
        shard.count.fetch_sub(1, Ordering::Relaxed);
        Some(taken)
    }

    fn walk(&self, mut visit: impl FnMut(&Slab<C>)) {
        for shard in &self.0 {
            // A small room pays for those shards only that have somebody.
            if shard.count.load(Ordering::Relaxed) > 0 {
                visit(&shard.slab.read());
            }
        }
    }
}
