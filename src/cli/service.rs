//! What a service manager gives a service, and is told by it: systemd's `LISTEN_FDS` and `sd_notify`.
//! Where there is none, nothing happens.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use listenfd::ListenFd;
use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::sockopt::socket_acceptconn,
};
use sd_notify::NotifyState;
use slabcast::{fanout::Fanout, node::Node};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

/// How many times the manager hears from the server before it would lose patience.
const SIGNS_OF_LIFE: u32 = 2;

/// Why what was handed over is no use.
#[derive(Debug)]
pub(super) enum HandoverError {
    /// One socket is what a server listens on.
    Several(usize),
    /// It is not what it should be.
    Socket(io::Error),
}

impl fmt::Display for HandoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Several(count) => write!(
                f,
                "{count} sockets were handed over by LISTEN_FDS (leave one ListenStream= in the \
                 socket unit)"
            ),
            Self::Socket(error) => write!(
                f,
                "the socket that was handed over by LISTEN_FDS is no TCP socket that listens: \
                 {error} (name an address and a port in ListenStream=, with Accept=no)"
            ),
        }
    }
}

/// The listening socket that the process was started with, if it was. To be asked once, before there
/// are threads: it takes the variables out of the environment, so that no child believes that they
/// are meant for it.
///
/// # Errors
/// [`HandoverError`], when there is something that a server can't listen on.
pub(super) fn handed_over() -> Result<Option<TcpListener>, HandoverError> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() > 1 {
        return Err(HandoverError::Several(sockets.len()));
    }
    let Some(listener) = sockets
        .take_tcp_listener(0)
        .map_err(HandoverError::Socket)?
    else {
        return Ok(None);
    };
    let listens =
        socket_acceptconn(&listener).map_err(|error| HandoverError::Socket(error.into()))?;
    if !listens {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it does not listen");
        return Err(HandoverError::Socket(error));
    }
    // Else a command of `exec` would hold the port after the server has gone.
    fcntl_setfd(&listener, FdFlags::CLOEXEC)
        .map_err(|error| HandoverError::Socket(error.into()))?;
    Ok(Some(listener))
}

/// Says that connections are accepted, and from now on that the server works, as often as the
/// manager wants to hear it.
pub(super) fn ready<F: Fanout>(node: &Arc<Node<F>>, address: SocketAddr) {
    tell(&[
        NotifyState::Ready,
        NotifyState::Status(&format!("listens on http://{address}/")),
    ]);
    let patience = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero());
    if let Some(patience) = patience {
        let mut ticks = interval(patience / SIGNS_OF_LIFE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let node = node.clone();
        tokio::spawn(async move {
            let mut beat = 0;
            loop {
                ticks.tick().await;
                // Who hangs in a lock is not alive.
                beat = node.pulse(beat).await;
                tell(&[NotifyState::Watchdog]);
            }
        });
    }
}

/// Says that a drain begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager can't be told");
    }
}
