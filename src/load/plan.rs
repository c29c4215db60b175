//! What a load run does.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use slabcast::config::units::format_duration;

use super::{error::LoadError, marker::MARKER_BYTES, target::ROOM};

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
    /// Who has to hear a message of a closed loop before it has come back.
    #[serde(default)]
    pub(crate) heard_by: HeardBy,
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

/// Who has to hear a message before it has come back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HeardBy {
    /// Who sent it. A server may be far from done with it then.
    #[default]
    Publisher,
    /// Everybody in the room whom the publisher's thread of the load has.
    Everybody,
}

impl Plan {
    /// Whether such a run can be made at all.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        let refuse = |name, value: &dyn ToString, problem: &str| {
            Err(LoadError::Value {
                name,
                value: value.to_string(),
                problem: problem.to_owned(),
            })
        };
        if self.connections == 0 || self.connections > CONNECTIONS_MAX {
            let problem = format!("1 to {CONNECTIONS_MAX} are possible");
            return refuse("connections", &self.connections, &problem);
        }
        if self.publishers == 0 || self.publishers > self.connections.min(PUBLISHERS_MAX) {
            let problem = format!(
                "1 to {} are possible, each of them one of the connections",
                self.connections.min(PUBLISHERS_MAX)
            );
            return refuse("publishers", &self.publishers, &problem);
        }
        if self.rooms == 0 || self.rooms > self.connections {
            let problem = format!("1 to {} are possible, one a connection", self.connections);
            return refuse("rooms", &self.rooms, &problem);
        }
        if self.rooms > 1 && self.speech == Speech::Plain && !self.url.contains(ROOM) {
            let problem = format!("the URL has no {ROOM} to put a room's name in (write it there)");
            return refuse("rooms", &self.rooms, &problem);
        }
        if self.payload_bytes < MARKER_BYTES || self.payload_bytes > PAYLOAD_BYTES_MAX {
            let problem = format!(
                "{MARKER_BYTES} bytes to {PAYLOAD_BYTES_MAX} are possible: a message's identity and \
                 time take {MARKER_BYTES}"
            );
            return refuse("payload", &self.payload_bytes, &problem);
        }
        if self.threads == 0 || self.threads > self.connections {
            let problem = format!("1 to {} are possible, one a connection", self.connections);
            return refuse("threads", &self.threads, &problem);
        }
        if self.duration.is_zero() || self.duration.saturating_add(self.warm_up) > RUN_MAX {
            let problem = "more than nothing and, with the warm-up, a day at most is possible";
            return refuse("duration", &format_duration(self.duration), problem);
        }
        match self.drive {
            Drive::Window(window @ 0) | Drive::Window(window @ WINDOW_END..) => {
                let problem = format!("1 to {} are possible", WINDOW_END - 1);
                refuse("window", &window, &problem)
            }
            Drive::Rate(rate) if !is_rate(rate) || rate == 0.0 => refuse(
                "rate",
                &rate,
                "more than 0 and at most a billion a second is possible",
            ),
            _ if !is_rate(self.churn_per_second) => {
                let problem = "0 to a billion a second is possible";
                refuse("churn", &self.churn_per_second, problem)
            }
            _ => Ok(()),
        }
    }
}

fn is_rate(rate: f64) -> bool {
    (0.0..=1e9).contains(&rate)
}

/// A marker has 16 bits for a publisher.
const PUBLISHERS_MAX: usize = 1 << 16;

/// Ports of one address to another; the descriptor limit mostly comes first.
const CONNECTIONS_MAX: usize = 1 << 16;

/// Of one message. Beyond it, one says more about memory than about broadcasting.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// A window is in memory, in both directions.
const WINDOW_END: usize = 1 << 20;

/// A marker has 48 bits for nanoseconds: three days.
const RUN_MAX: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            url: "ws://127.0.0.1:1/ws/{room}".into(),
            speech: Speech::Plain,
            connections: 8,
            publishers: 4,
            rooms: 2,
            drive: Drive::Window(1),
            heard_by: HeardBy::Publisher,
            payload_bytes: 32,
            churn_per_second: 0.0,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(1),
            threads: 1,
            server_pid: None,
            seed: 1,
        }
    }

    #[test]
    fn what_cant_be_done_says_which_value_and_what_is_possible() {
        plan().check().unwrap();
        type Change = fn(&mut Plan);
        let refused: [(&str, Change); 13] = [
            ("duration is 1s", |plan| plan.warm_up = Duration::MAX),
            ("connections is 0", |plan| plan.connections = 0),
            ("publishers is 9: 1 to 8", |plan| plan.publishers = 9),
            ("rooms is 9", |plan| plan.rooms = 9),
            ("{room}", |plan| plan.url = "ws://127.0.0.1:1/".into()),
            ("payload is 31: 32", |plan| plan.payload_bytes = 31),
            ("threads is 0", |plan| plan.threads = 0),
            ("duration is 0s", |plan| plan.duration = Duration::ZERO),
            ("window is 0", |plan| plan.drive = Drive::Window(0)),
            ("rate is 0", |plan| plan.drive = Drive::Rate(0.0)),
            ("rate is NaN", |plan| plan.drive = Drive::Rate(f64::NAN)),
            ("rate is inf", |plan| {
                plan.drive = Drive::Rate(f64::INFINITY)
            }),
            ("churn is -1", |plan| plan.churn_per_second = -1.0),
        ];
        for (wanted, change) in refused {
            let mut plan = plan();
            change(&mut plan);
            let error = plan.check().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
