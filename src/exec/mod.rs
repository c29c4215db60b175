//! A command whose output is a room: what it writes is published, and it ends with the server.
//!
//! Two processes share the work. The [`guard`] is this program once more: it starts the command in a
//! process group of its own, waits for it, and ends the group when its end of a socket to the server
//! closes, which also happens when the server is killed. The server [`relay`]s what comes through
//! the command's pipes.

pub(crate) mod guard;
mod leash;
mod lines;
mod message;
mod relay;
mod report;

pub(crate) use leash::{StartError, start};
pub(crate) use relay::relay;
pub(crate) use report::Ended;
