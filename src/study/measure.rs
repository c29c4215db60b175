//! What is compared: one figure of an outcome, its unit, and what better is.

use serde::Serialize;

use super::format;
use crate::load::{Limit, Outcome};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    Throughput,
    ServerCpu,
    LoadCpu,
    LatencyP50,
    LatencyP99,
    LatencyP999,
    JoinP50,
    JoinP99,
    ClientMemory,
}

impl Measure {
    /// None if the run did not measure it.
    pub(crate) fn of(self, outcome: &Outcome) -> Option<f64> {
        let latency = Some(outcome.latency).filter(|latency| latency.count > 0);
        let join = outcome.join_latency.filter(|latency| latency.count > 0);
        match self {
            Self::Throughput => {
                (outcome.seconds > 0.0).then(|| outcome.delivered as f64 / outcome.seconds)
            }
            Self::ServerCpu => outcome.server.map(|used| used.cpu_ns_per_delivery),
            Self::LoadCpu => Some(outcome.load.cpu_ns_per_delivery),
            Self::LatencyP50 => latency.map(|latency| latency.p50_us),
            Self::LatencyP99 => latency.map(|latency| latency.p99_us),
            Self::LatencyP999 => latency.map(|latency| latency.p999_us),
            Self::JoinP50 => join.map(|latency| latency.p50_us),
            Self::JoinP99 => join.map(|latency| latency.p99_us),
            Self::ClientMemory => client_memory(outcome),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Throughput => "deliveries per second",
            Self::ServerCpu => "server CPU per delivery",
            Self::LoadCpu => "load generator’s CPU per delivery",
            Self::LatencyP50 => "latency, p50",
            Self::LatencyP99 => "latency, p99",
            Self::LatencyP999 => "latency, p99.9",
            Self::JoinP50 => "join latency, p50",
            Self::JoinP99 => "join latency, p99",
            Self::ClientMemory => "resident memory per client",
        }
    }

    pub(crate) fn is_more_better(self) -> bool {
        self == Self::Throughput
    }

    pub(crate) fn formatter(self) -> fn(f64) -> String {
        match self {
            Self::Throughput => format::count,
            Self::ServerCpu | Self::LoadCpu => format::nanoseconds,
            Self::ClientMemory => format::bytes,
            _ => format::microseconds,
        }
    }

    pub(crate) fn format(self, value: f64) -> String {
        self.formatter()(value)
    }

    /// Whether a figure of a run whose load generator was at its limit says what the load generator
    /// can do, and not what the server can.
    pub(crate) fn is_spoilt_by(self, limit: Limit) -> bool {
        let is_of_process = matches!(self, Self::ServerCpu | Self::LoadCpu | Self::ClientMemory);
        limit == Limit::Load && !is_of_process
    }
}

fn client_memory(outcome: &Outcome) -> Option<f64> {
    let server = outcome
        .server
        .filter(|used| used.resident_bytes_before > 0)?;
    let grown = server
        .resident_bytes_connected
        .saturating_sub(server.resident_bytes_before);
    let clients = outcome.plan.connections;
    (clients > 0).then(|| grown as f64 / clients as f64)
}
