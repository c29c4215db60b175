//! What a load run found.

use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// What a load run found. Counts are of the measured part alone, and of everything that was sent in
/// it, however late it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    /// From the first message that was sent to the last one that came, in the measured part.
    pub(crate) seconds: f64,
    pub(crate) published: u64,
    /// How often a message should have come, by who was there when it was sent.
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    /// Messages that came before an earlier one of the same sender.
    pub(crate) reordered: u64,
    /// Whether all receivers of a room saw one order of all senders; none if that can't be told.
    pub(crate) is_one_order: Option<bool>,
    /// Sockets that the server closed, or that broke.
    pub(crate) disconnected: u64,
    /// How the first of them ended.
    #[serde(default)]
    pub(crate) first_disconnect: Option<String>,
    /// Messages that came to another room than theirs.
    #[serde(default)]
    pub(crate) strayed: u64,
    /// What came to those who only come and go; it is in none of the counts above but duplicated and
    /// reordered.
    #[serde(default)]
    pub(crate) delivered_to_visitors: u64,
    /// Whether publishers hear themselves; if not, nothing of it is expected.
    #[serde(default)]
    pub(crate) echoes: bool,
    /// From the moment at which a message was sent, or should have been, to each delivery.
    pub(crate) latency: Latency,
    /// From a join's request to its answer, or to the first message where there is none.
    pub(crate) join_latency: Option<Latency>,
    /// How far behind its schedule an open loop sent; none for a closed one.
    #[serde(default)]
    pub(crate) schedule_lag: Option<Latency>,
    /// TCP segments that this machine sent again meanwhile. Each may have cost a fifth of a second.
    #[serde(default)]
    pub(crate) retransmitted_segments: Option<u64>,
    pub(crate) load: Use,
    pub(crate) server: Option<Use>,
    pub(crate) limit: Limit,
}

/// How long something took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

/// What a process used in the measured part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Use {
    pub(crate) cpu_seconds: f64,
    pub(crate) cpu_ns_per_delivery: f64,
    /// Of one core, by its busiest thread: 1 is a thread that never waited.
    pub(crate) busiest_thread: f64,
    /// Resident memory before the first connection (0 if it could not be read).
    pub(crate) resident_bytes_before: u64,
    /// The same with all connections made, before any message.
    pub(crate) resident_bytes_connected: u64,
    /// The same at the end of the load.
    pub(crate) resident_bytes_after: u64,
}

/// What kept the run from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Limit {
    /// The load generator was busy: its figures say what it can do, not the server.
    Load,
    /// The server was busy.
    Server,
    /// Neither: the rate or the window.
    Drive,
    /// The server's use could not be read, and the load generator was not busy.
    Unknown,
}
