//! `slabcast exec`: runs the server and a command, and makes a room of what the command writes.

use std::{ffi::OsString, future::Future, io, net::TcpListener, process::ExitCode, time::Duration};

use clap::Args;
use slabcast::{
    config::{Engine, Loaded, PublishRight, RoomConfig, units::parse_duration},
    fanout::{Fanout, Hub, Registry},
    id::RoomName,
    server::ServeError,
};

use super::{
    EXIT_FAILED, fail, say,
    serve::{self, Prepared},
    service,
    settings::Settings,
};
use crate::exec::{self, Ended, StartError};

/// What a shell reports for a command that is not there.
const EXIT_NOT_FOUND: u8 = 127;

/// What a shell reports for a command that is there and can't be run.
const EXIT_NOT_RUNNABLE: u8 = 126;

/// What the room of a command keeps, unless somebody says otherwise: enough for a large build. A
/// newcomer is sent all of it at once, so ten times as many bytes would make each newcomer dear.
const HISTORY_SIZE: usize = 200_000;
const HISTORY_BYTES: usize = 16 << 20;
const HISTORY_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// How far a watcher may fall behind before it is a slow consumer. A command writes in bursts that no
/// network follows; what the room holds for them is held once, however many there are.
const LAG_BYTES: usize = 16 << 20;
const LAG_MESSAGES: usize = 200_000;

pub(super) const EXAMPLES: &str = "\
Examples:
  slabcast exec --room build -- make -j4
  slabcast exec --room log --listen 127.0.0.1:0 -- journalctl -f
  slabcast exec --room test --exit-with-command -- cargo test
  python3 -m websockets 'ws://127.0.0.1:8080/ws/build?since=start'

The command is run as it stands, by no shell, with its standard input empty. Each line that it writes
is a message, its exit code the last. When the server is told to stop, the command's process group
gets SIGTERM, and after --grace SIGKILL; it is ended too if the server is killed.

Its room keeps 200000 messages, 16 MiB, for a year, and a watcher may be as far behind, unless --set,
the environment or the file say otherwise (history_size, history_bytes, history_ttl, lag_messages and
lag_bytes of room_defaults or of the room's namespace).

Exits with 127 if the command is not there, 126 if it can't be run, and with --exit-with-command as
the command did, or with 128 and the number of the signal that ended it; otherwise as `serve` does.";

#[derive(Debug, Args)]
pub(super) struct Exec {
    #[command(flatten)]
    job: Job,
    #[command(flatten)]
    settings: Settings,
}

/// The command, and what is done with it.
#[derive(Debug, Args)]
struct Job {
    /// Publish in ROOM
    #[arg(long, value_name = "ROOM", value_parser = RoomName::parse)]
    room: RoomName,

    /// Stop serving when the command has ended, and exit as it did
    #[arg(long)]
    exit_with_command: bool,

    /// Leave the command's process group DURATION between SIGTERM and SIGKILL
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    grace: Duration,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct Guard {
    #[arg(long)]
    grace_ms: u64,

    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Why there is nothing to serve.
enum Failure {
    Serve(ServeError),
    Start(StartError),
}

pub(super) fn guard(guard: &Guard) -> ExitCode {
    exec::guard::run(&guard.command, Duration::from_millis(guard.grace_ms))
}

pub(super) fn run(exec: Exec) -> ExitCode {
    let Exec { job, settings } = exec;
    let prepared = match serve::prepare(settings) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let Prepared {
        // First, so that it is dropped last.
        log: _log,
        loaded,
        listener,
        runtime,
        shutdown,
    } = prepared;
    let served = match loaded.config.engine {
        Engine::Lock => runtime.block_on(serve::<Registry>(job, loaded, listener, shutdown)),
        Engine::Hub => runtime.block_on(serve::<Hub>(job, loaded, listener, shutdown)),
    };
    match served {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(ended)) => ExitCode::from(ended.exit_code()),
        Err(Failure::Serve(error)) => fail(error, EXIT_FAILED),
        Err(Failure::Start(error)) => {
            let code = match &error {
                StartError::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    EXIT_NOT_FOUND
                }
                StartError::Command { .. } => EXIT_NOT_RUNNABLE,
                StartError::Guard(_) => EXIT_FAILED,
            };
            fail(error, code)
        }
    }
}

/// Serves until it is told to stop, or with `--exit-with-command` until the command has ended, and
/// then returns how.
async fn serve<F: Fanout>(
    job: Job,
    loaded: Loaded,
    listener: Option<TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> Result<Option<Ended>, Failure> {
    let Job {
        room,
        exit_with_command,
        grace,
        command,
    } = job;
    let options = room_options(&loaded, &room);
    // First the address, so that no command runs for a server that can't be.
    let server = serve::listen::<F>(loaded.config, listener)
        .await
        .map_err(Failure::Serve)?;
    let node = server.node().clone();
    node.keep_room(&room, &options);
    let (leash, running) = exec::start(&command, grace).await.map_err(Failure::Start)?;
    let address = serve::say_where(&server);
    say(format_args!("the command's output is the room {room}\n"));
    service::ready(&node, address);
    let mut relaying = tokio::spawn(exec::relay(node, room, running));
    let mut ended = None;
    let until = async {
        tokio::select! {
            () = shutdown => {}
            relayed = &mut relaying, if exit_with_command => ended = relayed.ok(),
        }
        service::stopping();
        leash.let_go().await;
        // Its last lines and its end are published before anybody is told to go.
        if ended.is_none() {
            let _ = relaying.await;
        }
    };
    server.run(until).await.map_err(Failure::Serve)?;
    Ok(ended)
}

/// The options of the command's room: those that its name gives it, with room for a whole
/// output where nobody says otherwise.
fn room_options(loaded: &Loaded, room: &RoomName) -> RoomConfig {
    let namespace = room.namespace();
    let is_said = |option: &str| {
        let own = namespace.map(|namespace| format!("rooms.{namespace}.{option}"));
        let general = format!("room_defaults.{option}");
        own.is_some_and(|key| loaded.origin(&key).is_some()) || loaded.origin(&general).is_some()
    };
    let mut options = loaded.config.room(namespace).clone();
    // What is in it is the command's.
    options.publish = PublishRight::Nobody;
    let mut unless_said = |option: &str, change: fn(&mut RoomConfig)| {
        if !is_said(option) {
            change(&mut options);
        }
    };
    unless_said("history_size", |options| {
        options.history_size = HISTORY_SIZE
    });
    unless_said("history_bytes", |options| {
        options.history_bytes = HISTORY_BYTES
    });
    unless_said("history_ttl", |options| options.history_ttl = HISTORY_TTL);
    unless_said("lag_bytes", |options| options.lag_bytes = LAG_BYTES);
    unless_said("lag_messages", |options| {
        options.lag_messages = LAG_MESSAGES
    });
    options
}
