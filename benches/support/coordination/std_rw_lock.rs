//! `std::sync::RwLock<Slab>`: the same idea by the standard library's lock.

use slab::Slab;

use super::Members;

/// Members behind a futex lock, which also holds new readers back for a waiting writer.
#[derive(Debug)]
pub struct StdRwLocked<C>(std::sync::RwLock<Slab<C>>);

impl<C> Default for StdRwLocked<C> {
    fn default() -> Self {
        Self(std::sync::RwLock::new(Slab::new()))
    }
}

impl<C: Clone + std::fmt::Debug + Send + Sync + 'static> Members<C> for StdRwLocked<C> {
    const NAME: &'static str = "std_rw_lock";

    fn insert(&self, member: C) -> usize {
        self.0.write().unwrap().insert(member)
    }

    fn remove(
        &self,
        slot: usize,
        take: impl FnOnce(&mut Slab<C>, usize) -> Option<C>,
    ) -> Option<C> {
        take(&mut self.0.write().unwrap(), slot)
    }

    fn walk(&self, mut visit: impl FnMut(&Slab<C>)) {
        visit(&self.0.read().unwrap());
    }
}
