//! What a load run does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One load run against one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// `ws://host:port/path`; `{room}` in it stands for a room's name.
    pub(crate) url: String,
    pub(crate) speech: Speech,
    /// Sockets that receive, all together, spread evenly over the rooms.
    pub(crate) connections: usize,
    /// How many of them publish too, spread evenly over the rooms.
    pub(crate) publishers: usize,
    pub(crate) rooms: usize,
    pub(crate) drive: Drive,
    /// Of each message's payload; it holds the message's identity and filling.
    pub(crate) payload_bytes: usize,
    /// Further sockets that join a room, hear one message, leave and come again, this often each
    /// second, all together. 0: nobody.
    pub(crate) churn_per_second: f64,
    /// Load that is not measured, before the load that is.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// Of the load generator.
    pub(crate) threads: usize,
    /// The process to read CPU and memory of, if it is on this machine.
    pub(crate) server_pid: Option<u32>,
    pub(crate) seed: u64,
}

/// What the peers say and hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Speech {
    /// Centrifugo's bidirectional JSON protocol.
    Centrifugo,
    /// Plain WebSocket messages that the server sends to everybody, the sender too or not.
    Plain,
}

/// What decides when the next message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Drive {
    /// Closed loop: each publisher has so many messages on their way, and sends the next one when
    /// one has come back to it.
    Window(usize),
    /// Open loop: so many messages a second, all publishers together, whatever the server does.
    /// Latency counts from the moment at which a message should have been sent.
    Rate(f64),
}
