//! `slabcast bench`: one load run, with a progress bar, as a table or as JSON.

use std::{
    fmt::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slabcast::config::units::{UnitError, format_size, parse_duration, parse_size};

use super::{EXIT_FAILED, EXIT_MISUSED, fail, say_result};
use crate::load::{
    self, Drive, HeardBy, Latency, Limit, LoadError, Outcome, Plan, Progress, Speech, Stage, Use,
};

const URL_PLAIN: &str = "ws://127.0.0.1:8080/ws/{room}";
const URL_CENTRIFUGO: &str = "ws://127.0.0.1:8080/connection/websocket";

/// What a path that begins so speaks, on this server and on Centrifugo's.
const PATH_CENTRIFUGO: &str = "/connection/";

const PUBLISHERS_MAX: usize = 16;
const WINDOW_DEFAULT: usize = 16;

pub(super) const EXAMPLES: &str = "\
Examples:
  slabcast bench                                        1000 connections in one room of a server here
  slabcast bench --speech centrifugo --rooms 100        the same in the other dialect, in 100 rooms
  slabcast bench --rate 500 --payload 1KiB              500 messages a second, come what may
  slabcast bench --connections 32 --publishers 32       everybody talks to everybody
  slabcast bench ws://127.0.0.1:9000/ --json            any other server that broadcasts, as JSON

The figures:
  expected      each message, times those in its room when it was sent; what was sent in the
                measured part counts, however late it came
  lost          what was expected and did not come until nothing had come for 5 s
  duplicated    what came again; reordered: what came after a later one of the same sender
  one order     whether all who heard everything in a room heard it in the same order
  latency       to each single delivery, from the moment at which a message was sent; with --rate
                from the moment at which it should have been, so that a server that holds up the
                sender does not hold up the clock
  load, server  CPU of both in the measured part, all threads; busiest: of one core, its busiest
                thread
  limit         what kept the run from being faster. load: this program was at its limit, so the
                figures are its own, not the server's; try --threads, or another machine

With --window, a publisher that hears several of its messages come back at once sends as many at
once. What it hears, others may still wait for; with --heard-by everybody the whole room has to have
heard a message before another one is sent instead of it. A server that does not send a message back to its sender is found out, and another connection
of the room tells what has come.

The exit code is 1 if anything was lost, duplicated, reordered, in the wrong room or in more than one
order, or if a connection ended early; 2 if such a run can't be made.";

/// What `slabcast bench` is told.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Where to connect to; {room} in it stands for a room's name
    /// [default: ws://127.0.0.1:8080/ws/{room}]
    #[arg(value_name = "URL")]
    url: Option<String>,

    /// What is spoken there [default: centrifugo if the path begins with /connection/, else plain]
    #[arg(long, value_enum)]
    speech: Option<Speech>,

    /// Connections that receive, spread over the rooms
    #[arg(long, value_name = "N", default_value_t = 1000)]
    connections: usize,

    /// How many of them publish too [default: 16, or all if there are fewer]
    #[arg(long, value_name = "N")]
    publishers: Option<usize>,

    /// Rooms
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: usize,

    /// Closed loop: each publisher has N messages on their way [default: 16]
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    window: Option<usize>,

    /// Closed loop: who has to hear a message before the next one is sent instead of it
    #[arg(
        long,
        value_enum,
        value_name = "WHO",
        default_value = "publisher",
        conflicts_with = "rate"
    )]
    heard_by: HeardBy,

    /// Open loop: N messages a second, all publishers together, whatever the server does
    #[arg(long, value_name = "N")]
    rate: Option<f64>,

    /// Each message's size, such as 64 or 1KiB
    #[arg(long, value_name = "SIZE", default_value = "64", value_parser = size)]
    payload: usize,

    /// Further connections that join, hear one message and leave, N a second
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    churn: f64,

    /// Load before the measured part
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    warm_up: Duration,

    /// The measured part
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    duration: Duration,

    /// Threads of the load
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,

    /// The server's process, for its CPU and memory [default: who listens there, on this machine]
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,

    /// Of what messages are filled with
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

fn size(text: &str) -> Result<usize, UnitError> {
    parse_size(text)
}

fn duration(text: &str) -> Result<Duration, UnitError> {
    parse_duration(text)
}

pub(super) fn run(bench: Bench) -> ExitCode {
    let is_json = bench.json;
    let plan = bench.plan();
    let bar = Bar::new();
    let result = load::run(&plan, |progress| bar.show(progress));
    bar.clear();
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => return fail(&error, exit_code(&error)),
    };
    let code = if is_clean(&outcome) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    };
    if !is_json {
        return say_result(Table(&outcome), code);
    }
    match serde_json::to_string_pretty(&outcome) {
        Ok(text) => say_result(format_args!("{text}\n"), code),
        Err(error) => fail(error, EXIT_FAILED),
    }
}

impl Bench {
    pub(super) fn plan(self) -> Plan {
        let speech = self
            .speech
            .unwrap_or_else(|| speech_of(self.url.as_deref()));
        let url = self.url.unwrap_or_else(|| match speech {
            Speech::Plain => URL_PLAIN.to_owned(),
            Speech::Centrifugo => URL_CENTRIFUGO.to_owned(),
        });
        let publishers = self
            .publishers
            .unwrap_or_else(|| self.connections.min(PUBLISHERS_MAX));
        let drive = match self.rate {
            Some(rate) => Drive::Rate(rate),
            None => Drive::Window(self.window.unwrap_or(WINDOW_DEFAULT)),
        };
        Plan {
            url,
            speech,
            connections: self.connections,
            publishers,
            rooms: self.rooms,
            drive,
            heard_by: self.heard_by,
            payload_bytes: self.payload,
            churn_per_second: self.churn,
            warm_up: self.warm_up,
            duration: self.duration,
            threads: self.threads,
            server_pid: self.server_pid,
            seed: self.seed,
        }
    }
}

fn speech_of(url: Option<&str>) -> Speech {
    let rest = url
        .and_then(|url| url.split_once("://"))
        .map_or("", |parts| parts.1);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    if path.starts_with(PATH_CENTRIFUGO) {
        Speech::Centrifugo
    } else {
        Speech::Plain
    }
}

/// What is wrong with the command line is misuse; what is wrong with the server is a failure.
fn exit_code(error: &LoadError) -> u8 {
    match error {
        LoadError::Url { .. }
        | LoadError::Value { .. }
        | LoadError::Descriptors { .. }
        | LoadError::NoProcess { .. }
        | LoadError::NoEar { .. } => EXIT_MISUSED,
        _ => EXIT_FAILED,
    }
}

/// Whether everything came as it should.
fn is_clean(outcome: &Outcome) -> bool {
    let faults = [
        outcome.lost,
        outcome.duplicated,
        outcome.reordered,
        outcome.strayed,
        outcome.disconnected,
    ];
    faults == [0; 5] && outcome.is_one_order != Some(false)
}

/// How far it is, on a terminal's standard error.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        // Draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix:10} [{bar:30}] {msg}")
            .expect("the template is a constant")
            .progress_chars("=> ");
        bar.set_style(style);
        Self(bar)
    }

    fn show(&self, progress: Progress) {
        if self.0.is_hidden() {
            return;
        }
        let (part, message) = match progress.stage {
            Stage::Connecting => ("connect", format!("{} joined", progress.joined)),
            Stage::Probing => ("probe", "until everybody hears".to_owned()),
            Stage::WarmUp => ("warm up", String::new()),
            Stage::Measuring => ("measure", format!("{} delivered", progress.delivered)),
            Stage::Draining => ("drain", format!("{} delivered", progress.delivered)),
            Stage::Closing => ("close", String::new()),
        };
        self.0.set_prefix(part);
        self.0.set_message(message);
        self.0.set_position((progress.fraction * 1000.0) as u64);
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// An outcome for people.
struct Table<'a>(&'a Outcome);

impl fmt::Display for Table<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { plan, .. } = self.0;
        let drive = match plan.drive {
            Drive::Window(window) => match plan.heard_by {
                HeardBy::Publisher => format!("window {window}"),
                HeardBy::Everybody => format!("window {window} heard by everybody"),
            },
            Drive::Rate(rate) => format!("{rate} messages/s"),
        };
        writeln!(
            out,
            "{}: {} connections in {} room(s), {} publishers, {drive}, {} each, {:?}",
            plan.url,
            plan.connections,
            plan.rooms,
            plan.publishers,
            format_size(plan.payload_bytes),
            plan.speech,
        )?;
        self.counts(out)?;
        self.times(out)?;
        self.uses(out)
    }
}

impl Table<'_> {
    fn counts(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = self.0;
        let rate = |count: u64| format!("{:.0}/s", count as f64 / one.seconds);
        row(out, "measured", format_args!("{:.3} s", one.seconds))?;
        let published = format_args!("{} ({})", one.published, rate(one.published));
        row(out, "published", published)?;
        row(out, "expected", one.expected)?;
        let delivered = format_args!("{} ({})", one.delivered, rate(one.delivered));
        row(out, "delivered", delivered)?;
        row(out, "lost", one.lost)?;
        row(out, "duplicated", one.duplicated)?;
        row(out, "reordered", one.reordered)?;
        let order = match one.is_one_order {
            Some(true) => "yes",
            Some(false) => "no",
            None => "can't be told: no two receivers of a room heard everything",
        };
        row(out, "one order", order)?;
        if one.strayed > 0 {
            row(out, "wrong room", one.strayed)?;
        }
        if one.delivered_to_visitors > 0 {
            row(out, "to visitors", one.delivered_to_visitors)?;
        }
        let how = one.first_disconnect.as_ref();
        let how = how.map_or_else(String::new, |how| format!(" (the first: {how})"));
        row(
            out,
            "disconnected",
            format_args!("{}{how}", one.disconnected),
        )?;
        if !one.echoes {
            row(out, "note", "publishers don't hear themselves")?;
        }
        Ok(())
    }

    fn times(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(out, "latency", Times(self.0.latency))?;
        if let Some(join) = self.0.join_latency {
            row(out, "join", Times(join))?;
        }
        if let Some(lag) = self.0.schedule_lag {
            row(out, "behind", Times(lag))?;
        }
        match self.0.retransmitted_segments {
            None | Some(0) => Ok(()),
            Some(segments) => row(
                out,
                "note",
                format_args!("{segments} TCP segments were sent again; each can cost 200 ms"),
            ),
        }
    }

    fn uses(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(out, "load", Used(self.0.load))?;
        match self.0.server {
            Some(server) => row(out, "server", Used(server))?,
            None => row(
                out,
                "server",
                "can't be read (give --server-pid if it is on this machine)",
            )?,
        }
        let limit = match self.0.limit {
            Limit::Load => {
                "load: this program had no more to give, or got no core; the server perhaps had"
            }
            Limit::Server => "server",
            Limit::Drive => "drive: neither was busy; the rate or the window decides",
            Limit::Unknown => "unknown: the load was not busy, and the server can't be read",
        };
        row(out, "limit", limit)
    }
}

fn row(out: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(out, "  {name:<13} {value}")
}

struct Times(Latency);

impl fmt::Display for Times {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency {
            count,
            mean_us,
            p50_us,
            p90_us,
            p99_us,
            p999_us,
            max_us,
        } = self.0;
        if count == 0 {
            return out.write_str("nothing to measure");
        }
        for (name, us) in [
            ("mean", mean_us),
            ("p50", p50_us),
            ("p90", p90_us),
            ("p99", p99_us),
            ("p99.9", p999_us),
            ("max", max_us),
        ] {
            write!(out, "{name} {:.3}  ", us / 1e3)?;
        }
        out.write_str("ms")
    }
}

struct Used(Use);

impl fmt::Display for Used {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:.2} s CPU, {:.0} ns a delivery, busiest {:.0} %, {:.1} MiB resident",
            self.0.cpu_seconds,
            self.0.cpu_ns_per_delivery,
            self.0.busiest_thread * 100.0,
            self.0.resident_bytes_after as f64 / f64::from(1 << 20),
        )?;
        let connected = self.0.resident_bytes_connected;
        let grown = connected.saturating_sub(self.0.resident_bytes_before);
        if grown > 0 {
            out.write_char(',')?;
            write!(
                out,
                " {:.1} of it for connections",
                grown as f64 / f64::from(1 << 20)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        bench: Bench,
    }

    fn plan(flags: &[&str]) -> Plan {
        let flags = Flags::try_parse_from([&["bench"], flags].concat()).unwrap();
        flags.bench.plan()
    }

    #[test]
    fn the_url_says_what_is_spoken_and_the_flag_wins() {
        let spoken = |flags: &[&str]| (plan(flags).speech, plan(flags).url);
        assert_eq!(spoken(&[]), (Speech::Plain, URL_PLAIN.into()));
        let centrifugo = (Speech::Centrifugo, URL_CENTRIFUGO.into());
        assert_eq!(spoken(&["--speech=centrifugo"]), centrifugo);
        assert_eq!(spoken(&[URL_CENTRIFUGO]), centrifugo);
        let proxied = "ws://127.0.0.1/behind/connection/websocket";
        assert_eq!(spoken(&[proxied]).0, Speech::Plain);
        let overridden = spoken(&[proxied, "--speech=centrifugo"]);
        assert_eq!(overridden, (Speech::Centrifugo, proxied.into()));
    }

    #[test]
    fn flags_make_the_plan() {
        let plan = plan(&[
            "--connections=5",
            "--rate=2.5",
            "--payload=1KiB",
            "--churn=3",
            "--warm-up=0s",
            "--duration=250ms",
            "--threads=2",
            "--server-pid=7",
            "--seed=9",
            "--rooms=3",
        ]);
        assert_eq!((plan.connections, plan.publishers, plan.rooms), (5, 5, 3));
        assert_eq!((plan.drive, plan.payload_bytes), (Drive::Rate(2.5), 1024));
        assert_eq!((plan.churn_per_second, plan.threads), (3.0, 2));
        assert_eq!(
            (plan.warm_up, plan.duration),
            (Duration::ZERO, Duration::from_millis(250))
        );
        assert_eq!((plan.server_pid, plan.seed), (Some(7), 9));
        assert!(Flags::try_parse_from(["bench", "--rate=1", "--window=1"]).is_err());
    }
}
