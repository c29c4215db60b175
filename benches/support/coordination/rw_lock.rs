//! `RwLock<Slab>`, the library's own: many walks at a time, and whoever comes or goes waits for them.

use slab::Slab;

use super::Members;

/// Members behind a `parking_lot` lock: a waiting writer holds new readers back.
#[derive(Debug)]
pub struct RwLocked<C>(parking_lot::RwLock<Slab<C>>);

impl<C> Default for RwLocked<C> {
    fn default() -> Self {
        Self(parking_lot::RwLock::new(Slab::new()))
    }
}

impl<C: Clone + std::fmt::Debug + Send + Sync + 'static> Members<C> for RwLocked<C> {
    const NAME: &'static str = "rw_lock";

    fn insert(&self, member: C) -> usize {
        self.0.write().insert(member)
    }

    fn remove(
        &self,
        slot: usize,
        take: impl FnOnce(&mut Slab<C>, usize) -> Option<C>,
    ) -> Option<C> {
        take(&mut self.0.write(), slot)
    }

    fn walk(&self, mut visit: impl FnMut(&Slab<C>)) {
        visit(&self.0.read());
    }
}
