//! slabcast: a lock-based concurrent broadcast server.

pub mod close;
pub mod config;
pub mod fanout;
pub mod feed;
pub mod frame;
pub mod history;
pub mod id;
pub mod metrics;
pub mod node;
pub mod notifier;
pub mod outbox;
pub mod protocol;
pub mod publication;
pub mod session;
mod sync;
