//! `Mutex<Slab>`: one walk at a time.

use slab::Slab;

use super::Members;

/// Members behind a mutex, which is smaller and cheaper to take than any lock that counts readers.
#[derive(Debug)]
pub struct Mutexed<C>(parking_lot::Mutex<Slab<C>>);

impl<C> Default for Mutexed<C> {
    fn default() -> Self {
        Self(parking_lot::Mutex::new(Slab::new()))
    }
}

impl<C: Clone + std::fmt::Debug + Send + Sync + 'static> Members<C> for Mutexed<C> {
    const NAME: &'static str = "mutex";

    fn insert(&self, member: C) -> usize {
        self.0.lock().insert(member)
    }

    fn remove(
        &self,
        slot: usize,
        take: impl FnOnce(&mut Slab<C>, usize) -> Option<C>,
    ) -> Option<C> {
        take(&mut self.0.lock(), slot)
    }

    fn walk(&self, mut visit: impl FnMut(&Slab<C>)) {
        visit(&self.0.lock());
    }
}
