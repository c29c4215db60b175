//! The server: listening, accepting, and going down in good order. Knows sockets, not rooms.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    close::CloseReason,
    config::{Config, ConfigError, Secret},
    fanout::Fanout,
    http::{Http, Router},
    node::Node,
};

mod accept;
mod builder;
mod connection;
mod descriptors;

use accept::Acceptor;
pub use builder::Builder;

pub use crate::http::{PathParameters, Peer};
/// The types of requests and answers, and of what they are made of.
pub use ::http;

/// Connections that the system keeps for us until we accept them, if it allows as many. Beyond it, it
/// lets each of them wait for a second or more before it looks again: with the 128 that are usual, that
/// is what everybody gets who comes back at once, or while accepting rests.
const BACKLOG: u32 = 4096;

/// A drain closes at least this many connections a second, so that a small one is quick. Each of them
/// comes back within moments, to this server's successor.
const CLOSES_PER_SECOND: u32 = 1000;

/// How often a drain looks for sessions that began while it was beginning.
const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A server that listens.
#[derive(Debug)]
pub struct Server<F: Fanout> {
    node: Arc<Node<F>>,
    listener: TcpListener,
    local_addr: SocketAddr,
    router: Router<F>,
    api_key: Secret,
}

/// Why a server can't run.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The configuration makes no sense.
    Config(ConfigError),
    /// It can't listen there.
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The socket that it was given can't be used.
    Socket(io::Error),
    /// A route of the embedder's can't be one.
    Route {
        /// Its path.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Bind { addr, source } => {
                write!(
                    f,
                    "can't listen on {addr}: {source} (set another one with --listen)"
                )
            }
            Self::Route { path, problem } => write!(f, "no route can be at {path:?}: {problem}"),
            Self::Socket(source) => {
                write!(f, "can't listen on the socket that it was given: {source}")
            }
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Bind { source, .. } | Self::Socket(source) => Some(source),
            Self::Route { .. } => None,
        }
    }
}

impl<F: Fanout> Server<F> {
    /// Checks `config` and begins to listen. Connections wait until [`run`](Self::run).
    ///
    /// # Errors
    /// [`ServeError`], when the configuration makes no sense or the address can't be had.
    pub async fn bind(config: Config) -> Result<Self, ServeError> {
        Self::builder(config).bind().await
    }

    /// A server to which things are added before it listens: hooks, and routes of one's own.
    #[must_use]
    pub fn builder(config: Config) -> Builder<F> {
        Builder::new(config)
    }

    /// Checks `config` and takes a socket that listens already, such as one of a service manager's.
    /// Where that one listens is what counts as `config.listen`: who may connect goes by it.
    ///
    /// # Errors
    /// [`ServeError`], when the configuration makes no sense there, or the socket can't be used.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, which the socket is registered with.
    pub fn on(listener: std::net::TcpListener, config: Config) -> Result<Self, ServeError> {
        Self::builder(config).on(listener)
    }

    fn with_listener(
        listener: TcpListener,
        local_addr: SocketAddr,
        builder: Builder<F>,
    ) -> Result<Self, ServeError> {
        let Builder { config, hooks, own } = builder;
        let router = Router::new(own).map_err(|error| ServeError::Route {
            path: error.path,
            problem: error.problem,
        })?;
        let api_key = config.api.key.clone().unwrap_or_else(Secret::random);
        Ok(Self {
            node: Node::build(config, hooks).map_err(ServeError::Config)?,
            listener,
            local_addr,
            router,
            api_key,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What a request to the API must carry: the configured key, or else one that was made for this
    /// start.
    #[must_use]
    pub fn api_key(&self) -> &Secret {
        &self.api_key
    }

    /// What it serves.
    #[must_use]
    pub fn node(&self) -> &Arc<Node<F>> {
        &self.node
    }

    /// Serves until `shutdown` is ready, then drains: accepts nobody, closes sessions over the drain
    /// window, and returns when all are gone or the drain deadline has passed.
    ///
    /// # Errors
    /// None at present: what fails for one connection ends that one.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self {
            node,
            listener,
            router,
            api_key,
            ..
        } = self;
        let draining = CancellationToken::new();
        let connections = TaskTracker::new();
        let http = Http::new(
            node.clone(),
            router,
            &api_key,
            connections.clone(),
            draining.clone(),
        );
        let connections_max = descriptors::connections_max(node.config().limits.connections);
        info!(connections_max, engine = F::NAME, "serving");
        let acceptor = Acceptor {
            listener,
            node: node.clone(),
            http: Arc::new(http),
            permits: Arc::new(Semaphore::new(connections_max)),
            connections: connections.clone(),
            draining: draining.clone(),
        };
        tokio::select! {
            () = acceptor.run() => {}
            () = node.keep_house() => {}
            () = shutdown => {}
        }
        // The listener went with the acceptor: from here on, nobody is accepted.
        drain(&node, &connections, &draining).await;
        Ok(())
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that was there a moment ago leaves connections behind that are ending.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn drain<F: Fanout>(
    node: &Arc<Node<F>>,
    connections: &TaskTracker,
    draining: &CancellationToken,
) {
    let timeouts = &node.config().timeouts;
    let deadline = Instant::now() + timeouts.drain_deadline;
    let sessions = node.sessions();
    info!(sessions, "draining");
    draining.cancel();
    connections.close();
    let least =
        Duration::from_secs(1) * u32::try_from(sessions).unwrap_or(u32::MAX) / CLOSES_PER_SECOND;
    let mut window = timeouts.drain_window.min(least);
    let all_gone = async {
        // A session may have begun between the first look and the end of upgrades: look again.
        loop {
            node.close_all(CloseReason::Drain.into(), window).await;
            window = Duration::ZERO;
            tokio::select! {
                () = connections.wait() => return,
                () = sleep(DRAIN_LOOK_INTERVAL) => {}
            }
        }
    };
    match timeout_at(deadline, all_gone).await {
        Ok(()) => info!("drained"),
        Err(_) => warn!(left = connections.len(), "gave up draining at the deadline"),
    }
}
