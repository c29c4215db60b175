//! The locks and the atomics, or a model checker's in their place: the one place that names a lock
//! implementation.
//!
//! Everything that blocks goes through these names, so that a model checker can stand in for
//! `parking_lot` in one file: shuttle with `--cfg shuttle`, loom with `--cfg loom`. So do the atomics
//! of those parts that are modelled. The guards are `!Send` (the `send_guard` feature stays off): a
//! guard that is held over an `.await` does not compile in a spawned task.
//!
//! Lock order, the whole list: `rooms → room.order → room.clients → outbox → feed`. Never upwards,
//! never the same one twice (a `parking_lot` read lock taken again behind a waiting writer
//! deadlocks), never two rooms at once, and nothing is dropped or called back under a guard.

#[cfg(not(any(loom, shuttle)))]
pub(crate) use {
    parking_lot::{Mutex, MutexGuard, RwLock, RwLockWriteGuard},
    std::sync::atomic,
};

/// What `work` returns; none if a bug in it has panicked. `parking_lot` doesn't poison: whoever asks
/// says what is then no longer to be trusted.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
}

/// A checker says by panicking what it has found, and nobody else may catch that.
#[cfg(any(loom, shuttle))]
#[allow(dead_code, reason = "loom sees a part of the library only")]
pub(crate) fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    Some(work())
}

#[cfg(shuttle)]
pub(crate) use models::task;
#[cfg(any(loom, shuttle))]
pub(crate) use models::{Mutex, MutexGuard, RwLock, RwLockWriteGuard, atomic};

/// A checker's locks, which are made like those of `std`, with `parking_lot`'s interface.
#[cfg(any(loom, shuttle))]
#[allow(dead_code, reason = "loom sees a part of the library only")]
mod models {
    use std::{
        fmt,
        ops::{Deref, DerefMut},
        sync::PoisonError,
    };

    #[cfg(loom)]
    use loom::sync as checked;
    #[cfg(not(loom))]
    use shuttle::sync as checked;

    pub(crate) use checked::atomic;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(checked::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checked::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    #[must_use]
    pub(crate) struct MutexGuard<'a, T>(checked::MutexGuard<'a, T>);

    impl<T> MutexGuard<'_, T> {
        /// Who comes next is the checker's choice in any case.
        pub(crate) fn unlock_fair(guard: Self) {
            drop(guard);
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(checked::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checked::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            RwLockReadGuard::Shared(self.0.read().unwrap_or_else(PoisonError::into_inner))
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            RwLockWriteGuard(self.0.write().unwrap_or_else(PoisonError::into_inner))
        }
    }

    /// Checkers have no lock that turns from a writer's into a reader's. One that stays a writer's
    /// shuts other readers out for a little longer, and lets nobody in between.
    #[must_use]
    pub(crate) enum RwLockReadGuard<'a, T> {
        Shared(checked::RwLockReadGuard<'a, T>),
        Downgraded(RwLockWriteGuard<'a, T>),
    }

    #[must_use]
    pub(crate) struct RwLockWriteGuard<'a, T>(checked::RwLockWriteGuard<'a, T>);

    impl<'a, T> RwLockWriteGuard<'a, T> {
        pub(crate) fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
            RwLockReadGuard::Downgraded(guard)
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }

    impl<T> Deref for RwLockReadGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            match self {
                Self::Shared(guard) => guard,
                Self::Downgraded(guard) => guard,
            }
        }
    }

    impl<T> Deref for RwLockWriteGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for RwLockWriteGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }

    impl<T: fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Debug::fmt(&**self, f)
        }
    }

    /// What tokio has, for those who start a task.
    #[cfg(shuttle)]
    pub(crate) mod task {
        use std::mem;

        pub(crate) use shuttle::future::yield_now;

        /// The checker's own runtime, which is always there.
        #[derive(Debug)]
        pub(crate) struct Handle;

        /// Never seen.
        pub(crate) struct NoRuntime;

        impl Handle {
            pub(crate) fn try_current() -> Result<Self, NoRuntime> {
                Ok(Self)
            }

            pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
                spawn(task);
            }
        }

        pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
            // A task whose handle is dropped is let go, and a model ends without it. Here a model has
            // ended when nothing is left to be done.
            mem::forget(shuttle::future::spawn(task));
        }
    }
}
