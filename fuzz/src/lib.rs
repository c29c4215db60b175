//! What is fuzzed: each target takes any bytes and asserts what must be true of them, beyond that
//! nothing panics.
//!
//! `main.rs` runs them under libFuzzer; `tests/fuzz_corpus.rs` includes this file and runs them on
//! what is in `corpus/`.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a target that fails may say so by panicking; each of its two users needs a part"
)]

pub mod api;
pub mod commands;
pub mod config;
pub mod conversation;
mod frames;
pub mod names;
pub mod plain;
mod room_model;
pub mod rooms;
mod server;
mod text;
pub mod tokens;

/// One target: any bytes, of which something must be true.
pub type Target = fn(&[u8]);

/// Every target with the name of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 8] = [
    ("api", api::run),
    ("commands", commands::run),
    ("config", config::run),
    ("conversation", conversation::run),
    ("names", names::run),
    ("plain", plain::run),
    ("rooms", rooms::run),
    ("tokens", tokens::run),
];
