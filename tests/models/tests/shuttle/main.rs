//! The library's own code, with a scheduler in place of threads that tries their orders.
//!
//! Each model runs a few threads, each of them a few steps, many thousand times over, and each time in
//! another order. A wake-up that is lost is a deadlock here, and found at once. docs/testing.md has
//! what each model is for.

#![cfg(shuttle)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod check;
mod churn;
mod feed;
mod hub;
mod line;
#[path = "../../../fanout_suite/members.rs"]
#[allow(dead_code, reason = "models are fewer than promises")]
mod members;
mod pace;
mod recovery;
mod registry;
mod retiring;
mod rooms;
