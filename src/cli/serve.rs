//! `slabcast serve`: runs the server until it is told to stop.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    process,
    process::ExitCode,
    thread,
};

use slabcast::{
    config::{Config, Engine, Loaded},
    fanout::{Fanout, Hub, Registry},
    server::{ServeError, Server},
};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{
    EXIT_FAILED, EXIT_MISUSED, fail,
    log::{self, Log},
    say, service,
    settings::{Ready, Settings},
};

/// What a shell reports for a process that SIGINT (2) ended: 128 and the signal's number.
const EXIT_INTERRUPTED: i32 = 130;

/// The same for SIGTERM (15).
const EXIT_TERMINATED: i32 = 143;

/// A worker takes every second task from the queue that all workers share. With every one it would
/// look at none of its own while there are others; with the scheduler's own choice, every thirtieth or
/// so, those wait.
const TURNS_FOR_SHARED_QUEUE: u32 = 2;

/// What every subcommand that serves begins with.
pub(super) struct Prepared<S> {
    pub(super) loaded: Loaded,
    /// What a service manager has handed over to listen on.
    pub(super) listener: Option<TcpListener>,
    pub(super) runtime: Runtime,
    /// Ready when the program is told to stop.
    pub(super) shutdown: S,
    /// To be kept to the end, so that the last lines are written.
    pub(super) log: Log,
}

pub(super) fn run(settings: Settings) -> ExitCode {
    let prepared = match prepare(settings) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let Prepared {
        // First, so that it is dropped last: what tasks log when they are dropped is waited for.
        log: _log,
        loaded: Loaded { config, .. },
        listener,
        runtime,
        shutdown,
    } = prepared;
    let served = match config.engine {
        Engine::Lock => runtime.block_on(serve::<Registry>(config, listener, shutdown)),
        Engine::Hub => runtime.block_on(serve::<Hub>(config, listener, shutdown)),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error, EXIT_FAILED),
    }
}

/// Reads the settings, starts the log and the runtime, and listens for signals.
///
/// # Errors
/// The exit code, after what is wrong was printed.
pub(super) fn prepare(
    mut settings: Settings,
) -> Result<Prepared<impl Future<Output = ()> + Send + 'static>, ExitCode> {
    let listener = service::handed_over().map_err(|error| fail(error, EXIT_MISUSED))?;
    let address = listener.as_ref().and_then(|it| it.local_addr().ok());
    if let Some(address) = address {
        settings = settings.listening_at(address);
    }
    let Ready { loaded, log_filter } =
        settings.load().map_err(|error| fail(error, EXIT_MISUSED))?;
    let failed = |what, error| fail(format_args!("{what}: {error}"), EXIT_FAILED);
    let log = log::start(log_filter, loaded.config.log.format)
        .map_err(|error| failed("the log can't start", error))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = scheduler()
        .enable_all()
        .build()
        .map_err(|error| failed("the runtime can't start", error))?;
    let shutdown = runtime
        .block_on(async { shutdown_on_signal() })
        .map_err(|error| failed("signals can't be listened for", error))?;
    Ok(Prepared {
        loaded,
        listener,
        runtime,
        shutdown,
        log,
    })
}

/// A scheduler that lets sessions wait for as long as each other.
///
/// Each worker of the one for several cores has a queue of 256 tasks. What a walk over more members
/// wakes goes to a queue that all workers share, which they look at now and then as long as they have
/// something of their own; under load the sessions in it waited for a tenth of a second.
fn scheduler() -> Builder {
    match thread::available_parallelism() {
        // One core has nobody to share work with, and one queue.
        Ok(cores) if cores.get() == 1 => Builder::new_current_thread(),
        _ => {
            let mut scheduler = Builder::new_multi_thread();
            scheduler.global_queue_interval(TURNS_FOR_SHARED_QUEUE);
            scheduler
        }
    }
}

async fn serve<F: Fanout>(
    config: Config,
    listener: Option<TcpListener>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let server = listen::<F>(config, listener).await?;
    let address = say_where(&server);
    if address.ip().is_loopback() {
        say("open it in two browser tabs and chat; stop with ctrl-c\n");
    }
    if server.node().config().api.key.is_none() {
        let key = server.api_key().reveal();
        say(format_args!(
            "the API key of this run is {key} (set api.key or SLABCAST_API_KEY for one that stays)\n"
        ));
    }
    service::ready(server.node(), address);
    let until = async {
        shutdown.await;
        service::stopping();
    };
    server.run(until).await
}

/// A server on the socket that was handed over, or else where the configuration says.
pub(super) async fn listen<F: Fanout>(
    config: Config,
    listener: Option<TcpListener>,
) -> Result<Server<F>, ServeError> {
    match listener {
        Some(listener) => Server::on(listener, config),
        None => Server::bind(config).await,
    }
}

/// Prints where `server` listens, and returns it.
pub(super) fn say_where<F: Fanout>(server: &Server<F>) -> SocketAddr {
    let address = server.local_addr();
    say(format_args!("slabcast listens on http://{address}/\n"));
    address
}

/// Resolves at the first SIGTERM or SIGINT. A second one ends the process at once: whoever sends it
/// does not want to wait for a drain.
///
/// # Errors
/// The operating system's, if it refuses to register the signals.
fn shutdown_on_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, shutdown) = oneshot::channel();
    tokio::spawn(async move {
        next(&mut terminate, &mut interrupt).await;
        // Nobody waits if the server failed meanwhile; then the process is about to end anyway.
        let _ = first.send(());
        process::exit(next(&mut terminate, &mut interrupt).await);
    });
    Ok(async move {
        // The sender is dropped unsent only when the runtime goes down, and then it is time too.
        let _ = shutdown.await;
    })
}

/// Waits for either signal and returns the exit code of a process that it ends.
async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => EXIT_TERMINATED,
        _ = interrupt.recv() => EXIT_INTERRUPTED,
    }
}
