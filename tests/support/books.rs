//! What a server process says of itself once its peers are gone: sessions, rooms, frames, descriptors.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{PATIENCE, Program};

/// What every engine is tried with.
pub const ENGINES: [&str; 2] = ["engine=lock", "engine=hub"];

/// Rooms that go with their last member.
pub const NO_HISTORY: &str = "room_defaults.history_size=0";

/// Between two looks at what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Processor time that a process has taken since its start.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name, which may hold anything: field 14 and 15 of proc(5), the name being 2.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
    // USER_HZ, which is 100 wherever Linux runs today.
    Duration::from_millis(10 * ticks)
}

/// Files and sockets that a process has open.
pub fn descriptors(pid: u32) -> usize {
    let listing = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    listing.count()
}

/// Lets this process have as many descriptors as it may: a shell often allows fewer.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Whether every frame that was owed to somebody is in one of the four accounts.
pub fn is_balanced(status: &Value) -> bool {
    let [due, delivered, skipped, discarded, pending] =
        ["due", "delivered", "skipped", "discarded", "pending"]
            .map(|name| status["deliveries"][name].as_u64().unwrap());
    due == delivered + skipped + discarded + pending
}

/// What a server that nobody is connected to takes up.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    descriptors: usize,
}

impl Program {
    /// Starts it with standard error there, and a log of everything that `filter` admits.
    pub async fn start_logging(filter: &str, stderr: impl Into<Stdio>, settings: &[&str]) -> Self {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_slabcast"));
        command.stderr(stderr);
        Self::start_by(command, filter, settings, &[]).await
    }

    /// Waits until `/status` is as `is_reached` wants it.
    pub async fn until(&self, what: &str, is_reached: impl Fn(&Value) -> bool) -> Value {
        let looking = async {
            loop {
                let status = self.status().await;
                if is_reached(&status) {
                    return status;
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        match timeout(PATIENCE, looking).await {
            Ok(status) => status,
            Err(_) => panic!("{what} did not happen: {:#}", self.status().await),
        }
    }

    /// What it takes up now, which is before anybody has connected.
    pub fn idle(&self) -> Idle {
        Idle {
            descriptors: descriptors(self.pid()),
        }
    }

    /// Waits until it takes up no more than `idle` and `sessions` in `rooms`, and every frame is
    /// accounted for.
    pub async fn settled(&self, idle: Idle, sessions: usize, rooms: usize) -> Value {
        let status = self
            .until("a house in order", |status| {
                status["connections"] == sessions
                    && status["num_rooms"] == rooms
                    && status["deliveries"]["pending"] == 0
                    && is_balanced(status)
            })
            .await;
        if rooms == 0 {
            assert_eq!(status["subscriptions"], 0, "{status:#}");
            assert_eq!(status["feed_bytes"], 0, "{status:#}");
        }
        let wanted = idle.descriptors + sessions;
        let closing = async {
            while descriptors(self.pid()) != wanted {
                sleep(LOOK_INTERVAL).await;
            }
        };
        if timeout(PATIENCE, closing).await.is_err() {
            let open = descriptors(self.pid());
            panic!("{open} descriptors are open instead of {wanted}");
        }
        status
    }
}

/// Sends a process a signal, such as `KILL`.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
