//! The part of the library that is modelled: its own files, by the names that they have there.
//!
//! Without `--cfg shuttle`, `--cfg loom` or, for sanitizers, `--cfg sanitized` there is nothing in here.

#![cfg(any(loom, shuttle, sanitized))]
#![allow(
    dead_code,
    unused_imports,
    reason = "a part of the library, taken in as it is"
)]

#[path = "../../../src/close.rs"]
pub mod close;
#[cfg(not(loom))]
#[path = "../../../src/config/room.rs"]
pub mod config;
#[cfg(not(loom))]
#[path = "../../../src/fanout/mod.rs"]
pub mod fanout;
#[path = "../../../src/feed/mod.rs"]
pub mod feed;
#[cfg(not(loom))]
#[path = "../../../src/history.rs"]
pub mod history;
#[path = "../../../src/id.rs"]
pub mod id;
#[path = "../../../src/metrics.rs"]
pub mod metrics;
#[cfg(shuttle)]
pub mod node;
#[path = "../../../src/notifier.rs"]
pub mod notifier;
#[path = "../../../src/outbox.rs"]
pub mod outbox;
#[path = "../../../src/publication.rs"]
pub mod publication;
#[path = "../../../src/sync.rs"]
mod sync;
