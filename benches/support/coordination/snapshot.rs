//! A copy-on-write snapshot (arc-swap): walks take no lock at all, and whoever comes or goes copies
//! the whole slab.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use slab::Slab;

use super::Members;

/// Members in a slab that never changes; a change is another slab.
#[derive(Debug)]
pub struct Snapshot<C> {
    current: ArcSwap<Slab<C>>,
    /// One change at a time. Without it two copies made at once would each miss the other's change;
    /// `ArcSwap::rcu` would copy again and again instead.
    changes: Mutex<()>,
}

impl<C> Default for Snapshot<C> {
    fn default() -> Self {
        Self {
            current: ArcSwap::from_pointee(Slab::new()),
            changes: Mutex::new(()),
        }
    }
}

impl<C: Clone + fmt::Debug + Send + Sync + 'static> Snapshot<C> {
    fn change<R>(&self, change: impl FnOnce(&mut Slab<C>) -> R) -> R {
        let changing = self.changes.lock();
        let mut copy = Slab::clone(&self.current.load());
        let result = change(&mut copy);
        let old = self.current.swap(Arc::new(copy));
        drop(changing);
        // As many members as there are, if nobody walks it any more: with no lock held.
        drop(old);
        result
    }
}

impl<C: Clone + fmt::Debug + Send + Sync + 'static> Members<C> for Snapshot<C> {
    const NAME: &'static str = "snapshot";

    fn insert(&self, member: C) -> usize {
        self.change(|slab| slab.insert(member))
    }

    fn remove(
        &self,
        slot: usize,
        take: impl FnOnce(&mut Slab<C>, usize) -> Option<C>,
    ) -> Option<C> {
        self.change(|slab| take(slab, slot))
    }

    fn walk(&self, mut visit: impl FnMut(&Slab<C>)) {
        visit(&self.current.load());
    }
}
