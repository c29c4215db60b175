//! slabcast: a lock-based concurrent broadcast server.

pub mod close;
pub mod config;
pub mod id;
pub mod metrics;
mod sync;
