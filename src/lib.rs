//! slabcast: a lock-based concurrent broadcast server.
//!
//! A room is a `RwLock<Slab<Client>>` that every connection task shares. Whoever publishes appends
//! one encoded frame to the room's feed and walks the slab under the read lock, telling each member
//! that there is something new; each member's own task then writes everything that it has not had,
//! with one call. No hub stands in between.
//!
//! # Features
//!
//! | | what there is | other crates |
//! |---|---|---|
//! | none | rooms, feeds, outboxes, frames, history: in memory, for any transport | 12 |
//! | `server` | the server: WebSocket, Centrifugo's protocol, server-sent events, tokens, an HTTP API | about 100 |
//! | `cli`, by default | the program `slabcast`, of which a library has no use | |
//!
//! The modules, from the bottom up; each imports only from those before it:
//!
//! | floor | modules |
//! |---|---|
//! | basics | [`config`], [`id`], [`close`], [`metrics`] |
//! | one room's memory | [`frame`], [`publication`], [`feed`], [`notifier`], [`outbox`], [`history`] |
//! | rooms | [`fanout`], and [`room`] for one room by itself |
//! | with `server` | `protocol`, which knows no rooms; `node`, which knows rooms by their names; `session`, which is one connection; `http`; `server` |
#![cfg_attr(feature = "server", doc = include_str!("server/embedding.md"))]

pub mod close;
#[cfg(feature = "server")]
pub mod config;
#[cfg(not(feature = "server"))]
#[path = "config/room.rs"]
pub mod config;
pub mod fanout;
pub mod feed;
pub mod frame;
pub mod history;
#[cfg(feature = "server")]
mod http;
pub mod id;
pub mod metrics;
#[cfg(feature = "server")]
pub mod node;
pub mod notifier;
pub mod outbox;
#[cfg(feature = "server")]
pub mod protocol;
pub mod publication;
pub mod room;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod session;
mod sync;

/// The examples in the README, so that they compile.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;
