//! slabcast: a lock-based concurrent broadcast server.
//!
//! A room is a `RwLock<Slab<Client>>` that every connection task shares. Whoever publishes appends
//! one encoded frame to the room's feed and walks the slab under the read lock, telling each member
//! that there is something new; each member's own task then writes everything that it has not had,
//! with one call. No hub stands in between.
//!
//! The modules, from the bottom up; each imports only from those before it:
//!
//! | floor | modules |
//! |---|---|
//! | basics | [`config`], [`id`], [`close`], [`metrics`] |
//! | one room's memory | [`frame`], [`publication`], [`feed`], [`notifier`], [`outbox`], [`history`] |
//! | rooms | [`fanout`] and [`protocol`], which don't know each other, and above both [`node`] |
//! | one connection | [`session`] |
//! | the server | `http`, and [`server`] |
//!
//! A server in a few lines:
//!
//! ```no_run
//! use slabcast::{config::Config, fanout::Registry, server::Server};
//!
//! # async fn run() -> Result<(), slabcast::server::ServeError> {
//! let server = Server::<Registry>::bind(Config::default()).await?;
//! println!("open http://{}/", server.local_addr());
//! server.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await
//! # }
//! ```

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
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod session;
mod sync;

/// The examples in the README, so that they compile.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;
