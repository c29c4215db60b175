//! `slabcast serve`: runs the server until it is told to stop.

use std::{future::Future, io, process, process::ExitCode};

use slabcast::{
    config::{Config, Engine},
    fanout::{Fanout, Hub, Registry},
    server::{ServeError, Server},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{
    EXIT_FAILED, EXIT_MISUSED, fail, log, say,
    settings::{Ready, Settings},
};

/// What a shell reports for a process that SIGINT (2) ended: 128 and the signal's number.
const EXIT_INTERRUPTED: i32 = 130;

/// The same for SIGTERM (15).
const EXIT_TERMINATED: i32 = 143;

pub(super) fn run(settings: Settings) -> ExitCode {
    let Ready { config, log_filter } = match settings.load() {
        Ok(ready) => ready,
        Err(error) => return fail(error, EXIT_MISUSED),
    };
    log::start(log_filter, config.log.format);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(
                format_args!("the runtime can't start: {error}"),
                EXIT_FAILED,
            );
        }
    };
    let shutdown = match runtime.block_on(async { shutdown_on_signal() }) {
        Ok(shutdown) => shutdown,
        Err(error) => {
            return fail(
                format_args!("signals can't be listened for: {error}"),
                EXIT_FAILED,
            );
        }
    };
    let served = match config.engine {
        Engine::Lock => runtime.block_on(serve::<Registry>(config, shutdown)),
        Engine::Hub => runtime.block_on(serve::<Hub>(config, shutdown)),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error, EXIT_FAILED),
    }
}

async fn serve<F: Fanout>(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let server = Server::<F>::bind(config).await?;
    let address = server.local_addr();
    say(format_args!("slabcast listens on http://{address}/\n"));
    if address.ip().is_loopback() {
        say("open it in two browser tabs and chat; stop with ctrl-c\n");
    }
    if server.node().config().api.key.is_none() {
        let key = server.api_key().reveal();
        say(format_args!(
            "the API key of this run is {key} (set api.key or SLABCAST_API_KEY for one that stays)\n"
        ));
    }
    server.run(shutdown).await
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
