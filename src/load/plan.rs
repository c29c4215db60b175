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
        self.check_peers()?;
        self.check_memory()?;
        self.check_times()?;
        self.check_pace()
    }

    fn check_peers(&self) -> Result<(), LoadError> {
        let Self {
            connections,
            publishers,
            rooms,
            threads,
            ..
        } = *self;
        if connections == 0 || connections > CONNECTIONS_MAX {
            let problem = format!(
                "1 to {CONNECTIONS_MAX} are possible (share the load among several machines)"
            );
            return refuse("connections", connections, problem);
        }
        let publishers_max = connections.min(PUBLISHERS_MAX);
        if publishers == 0 || publishers > publishers_max {
            let problem = format!(
                "1 to {publishers_max} are possible, each of them one of the connections (take a \
                 number between them, or more connections)"
            );
            return refuse("publishers", publishers, problem);
        }
        if rooms == 0 || rooms > connections {
            let problem = format!(
                "1 to {connections} are possible, one a connection (take a number \
                 between them, or more connections)"
            );
            return refuse("rooms", rooms, problem);
        }
        if rooms > 1 && self.speech == Speech::Plain && !self.url.contains(ROOM) {
            let problem = format!("the URL has no {ROOM} to put a room's name in (write it there)");
            return refuse("rooms", rooms, problem);
        }
        let threads_max = connections.min(THREADS_MAX);
        if threads == 0 || threads > threads_max {
            let problem = format!(
                "1 to {threads_max} are possible, one a connection at the most (take as many as \
                 there are cores that the server can spare)"
            );
            return refuse("threads", threads, problem);
        }
        Ok(())
    }

    fn check_memory(&self) -> Result<(), LoadError> {
        let Self {
            connections,
            publishers,
            rooms,
            payload_bytes,
            ..
        } = *self;
        if !(MARKER_BYTES..=PAYLOAD_BYTES_MAX).contains(&payload_bytes) {
            let problem = format!(
                "{MARKER_BYTES} bytes to {PAYLOAD_BYTES_MAX} are possible: a message's identity and \
                 time take {MARKER_BYTES} (take a size between them)"
            );
            return refuse("payload", payload_bytes, problem);
        }
        let messages_bytes = publishers * payload_bytes;
        if messages_bytes > MEMORY_BYTES_MAX {
            let problem = format!(
                "the messages of {publishers} publishers take {messages_bytes} bytes, and \
                 {MEMORY_BYTES_MAX} are possible (take a smaller payload, or fewer publishers)"
            );
            return refuse("payload", payload_bytes, problem);
        }
        let accounts_bytes = connections * publishers.div_ceil(rooms) * size_of::<u32>();
        if accounts_bytes > MEMORY_BYTES_MAX {
            let problem = format!(
                "what {connections} connections heard of each of them takes {accounts_bytes} \
                 bytes, and {MEMORY_BYTES_MAX} are possible (take fewer, or more rooms)"
            );
            return refuse("publishers", publishers, problem);
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), LoadError> {
        if self.duration.is_zero() || self.run() > RUN_MAX {
            let problem = "more than nothing and, with the warm-up, a day at most is possible \
                           (take another one, or a shorter warm-up)";
            return refuse("duration", format_duration(self.duration), problem);
        }
        Ok(())
    }

    fn check_pace(&self) -> Result<(), LoadError> {
        match self.drive {
            Drive::Window(window @ 0) | Drive::Window(window @ WINDOW_END..) => {
                let problem = format!(
                    "1 to {} are possible (take one between them: a longer queue makes no server faster)",
                    WINDOW_END - 1
                );
                return refuse("window", window, problem);
            }
            Drive::Rate(rate) if !(rate > 0.0 && rate <= RATE_MAX) => {
                let problem = format!(
                    "more than 0 and at most {RATE_MAX} a second is possible (take a rate \
                     between them, or a window for as many as the server takes)"
                );
                return refuse("rate", format!("{rate:?}"), problem);
            }
            Drive::Rate(rate) => {
                let each = rate * self.run().as_secs_f64() / self.publishers as f64;
                if each > SEQUENCE_MAX {
                    let problem = format!(
                        "each publisher would send {each:.0} messages, and {SEQUENCE_MAX} are \
                         possible (take a lower rate, a shorter duration, or more publishers)"
                    );
                    return refuse("rate", format!("{rate:?}"), problem);
                }
            }
            Drive::Window(_) => {}
        }
        let churn = self.churn_per_second;
        if !(0.0..=CHURN_MAX).contains(&churn) {
            let problem = format!(
                "0 to {CHURN_MAX} a second is possible (take a rate between them: visitors share the \
                 ports of this machine)"
            );
            return refuse("churn", format!("{churn:?}"), problem);
        }
        Ok(())
    }

    /// From the first message to the last.
    fn run(&self) -> Duration {
        self.duration.saturating_add(self.warm_up)
    }
}

fn refuse(
    name: &'static str,
    value: impl ToString,
    problem: impl Into<String>,
) -> Result<(), LoadError> {
    Err(LoadError::Value {
        name,
        value: value.to_string(),
        problem: problem.into(),
    })
}

/// A marker has 16 bits for a publisher.
const PUBLISHERS_MAX: usize = 1 << 16;

/// A marker has 32 bits for a sequence number.
const SEQUENCE_MAX: f64 = u32::MAX as f64;

/// Ports of one address to another; the descriptor limit mostly comes first.
const CONNECTIONS_MAX: usize = 1 << 16;

/// As many as large machines have cores. Each takes more than a megabyte, and ten times as many would
/// measure the scheduler.
const THREADS_MAX: usize = 256;

/// Of one message. Beyond it, one says more about memory than about broadcasting.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// For all publishers' messages, and for all receivers' accounts: what a machine with a server on it
/// can spare. A tenth would forbid ten thousand who talk to each other.
const MEMORY_BYTES_MAX: usize = 1 << 30;

/// A window is in memory, in both directions.
const WINDOW_END: usize = 1 << 20;

/// Messages a second. A thread sends about a million; with a hundred times as many as that it would do
/// nothing but count what is due, and never come to an end.
const RATE_MAX: f64 = 1e7;

/// Visitors a second: several times what the ports of one address allow for longer.
const CHURN_MAX: f64 = 1e5;

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
        let refused: [(&str, Change); 22] = [
            ("duration is 1s", |plan| plan.warm_up = Duration::MAX),
            ("connections is 0", |plan| plan.connections = 0),
            ("connections is 65537: 1 to 65536", |plan| {
                plan.connections = 65_537;
            }),
            ("publishers is 9: 1 to 8", |plan| plan.publishers = 9),
            ("publishers is 30000: what 30000", |plan| {
                plan.connections = 30_000;
                plan.publishers = 30_000;
                plan.rooms = 1;
            }),
            ("rooms is 9: 1 to 8", |plan| plan.rooms = 9),
            ("{room}", |plan| plan.url = "ws://127.0.0.1:1/".into()),
            ("payload is 31: 32", |plan| plan.payload_bytes = 31),
            ("payload is 16777217", |plan| {
                plan.payload_bytes = (16 << 20) + 1;
            }),
            ("payload is 16777216: the messages of 65", |plan| {
                plan.payload_bytes = 16 << 20;
                plan.connections = 65;
                plan.publishers = 65;
            }),
            ("threads is 0: 1 to 8", |plan| plan.threads = 0),
            ("threads is 9: 1 to 8", |plan| plan.threads = 9),
            ("threads is 257: 1 to 256", |plan| {
                plan.connections = 1_000;
                plan.threads = 257;
            }),
            ("duration is 0s", |plan| plan.duration = Duration::ZERO),
            ("window is 0", |plan| plan.drive = Drive::Window(0)),
            ("window is 1048576: 1 to 1048575", |plan| {
                plan.drive = Drive::Window(1 << 20);
            }),
            ("rate is 0", |plan| plan.drive = Drive::Rate(0.0)),
            ("rate is NaN", |plan| plan.drive = Drive::Rate(f64::NAN)),
            ("rate is 1e300: more than 0 and at most 10000000", |plan| {
                plan.drive = Drive::Rate(1e300);
            }),
            ("would send 21600000000 messages, and 4294967295", |plan| {
                plan.drive = Drive::Rate(1e6);
                plan.duration = Duration::from_secs(86_400);
            }),
            ("churn is -1", |plan| plan.churn_per_second = -1.0),
            ("churn is 100001.0: 0 to 100000", |plan| {
                plan.churn_per_second = 100_001.0;
            }),
        ];
        for (wanted, change) in refused {
            let mut plan = plan();
            change(&mut plan);
            let error = plan.check().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            assert!(error.ends_with(')'), "what to do: {error}");
        }
    }
}
