//! The load generator: many sockets, little CPU, and an exact account of what came.
//!
//! A few threads, each with an epoll and a share of the sockets, that share nothing but a handful of
//! atomics ([`control`]). No runtime: what a task costs would be a good part of what a delivery
//! costs, and the generator has to be cheaper than any server that it measures.

mod account;
mod audience;
mod connection;
mod control;
mod error;
mod handshake;
mod hearing;
mod ledger;
mod marker;
mod outcome;
mod plan;
mod process;
mod publisher;
mod run;
mod speech;
mod target;
mod wire;
mod worker;

pub(crate) use self::{
    control::{Progress, Stage},
    error::LoadError,
    outcome::{Latency, Limit, Outcome, Use},
    plan::{Drive, HeardBy, Plan, Speech},
    run::run,
};
