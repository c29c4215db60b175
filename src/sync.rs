//! The locks, and nothing else: the one place that names a lock implementation.
//!
//! Everything that blocks goes through these names, so that a model checker can stand in for
//! `parking_lot` in one file. The guards are `!Send` (the `send_guard` feature stays off): a guard
//! that is held over an `.await` does not compile in a spawned task.
//!
//! Lock order, the whole list: `rooms → room.order → room.clients → outbox → feed`. Never upwards,
//! never the same one twice (a `parking_lot` read lock taken again behind a waiting writer
//! deadlocks), never two rooms at once, and nothing is dropped or called back under a guard.

pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock, RwLockWriteGuard};
