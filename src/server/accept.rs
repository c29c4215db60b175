//! Accepting: one loop that nothing ends but its being dropped.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, TryAcquireError},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::connection;
use crate::{
    fanout::Fanout,
    http::{Connection, Http, Permit},
    node::{Budget, Node, network_of},
    sync::Mutex,
};

/// How long accepting rests when there are no descriptors or no memory. The connection stays in the
/// backlog, so without a rest the loop would spin on it; a hundred times as long, and those who wait
/// would give up.
const REST: Duration = Duration::from_millis(50);

/// A failing accept is logged this often at the most.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Connections that are being told that there is no place, at the same time. Others beyond it are
/// closed without a word. Their descriptors come out of the reserve.
const TURNED_AWAY_MAX: usize = 32;

/// The accept loop.
#[derive(Debug)]
pub(super) struct Acceptor<F: Fanout> {
    pub(super) listener: TcpListener,
    pub(super) node: Arc<Node<F>>,
    pub(super) http: Arc<Http<F>>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) connections: TaskTracker,
    pub(super) draining: CancellationToken,
}

impl<F: Fanout> Acceptor<F> {
    pub(super) async fn run(self) {
        let turning_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
        let mut last_logged: Option<Instant> = None;
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.node.counters().accept_errors.add(1);
                    if last_logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                        last_logged = Some(Instant::now());
                        warn!(%error, "can't accept a connection");
                    }
                    // A peer that was gone before we came is no reason to rest.
                    if !is_of_the_peer(&error) {
                        sleep(REST).await;
                    }
                    continue;
                }
            };
            match self.admit(peer) {
                Ok(permit) => self.serve(stream, peer, permit),
                Err(answer) => self.turn_away(stream, answer, &turning_away),
            }
        }
    }

    /// A place for `peer`, or what it is told instead.
    fn admit(&self, peer: SocketAddr) -> Result<Permit, &'static [u8]> {
        let network = network_of(peer.ip());
        let share = self.node.addresses().take(network);
        let share = share.ok_or(connection::ADDRESS_FULL)?;
        match self.permits.clone().try_acquire_owned() {
            Ok(place) => Ok(Permit {
                _place: place,
                _share: share,
            }),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => Err(connection::NODE_FULL),
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, permit: Permit) {
        self.node.counters().accepted.add(1);
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "can't turn off Nagle's algorithm");
        }
        let limits = &self.node.config().limits;
        let connection = Connection {
            peer,
            permit: Arc::new(permit),
            budget: limits
                .commands_per_second
                .map(|commands| Arc::new(Mutex::new(Budget::new(commands)))),
            handover: Arc::default(),
        };
        let timeouts = &self.node.config().timeouts;
        let http_limits = connection::HttpLimits {
            head_timeout: timeouts.request_head,
            head_bytes: limits.head_bytes,
            write_timeout: timeouts.write,
        };
        let (http, draining) = (self.http.clone(), self.draining.clone());
        let serving = connection::serve(stream, connection, http, http_limits, draining);
        self.connections.spawn(serving);
    }

    fn turn_away(&self, stream: TcpStream, answer: &'static [u8], turning_away: &Arc<Semaphore>) {
        self.node.counters().turned_away.add(1);
        if let Ok(place) = turning_away.clone().try_acquire_owned() {
            self.connections.spawn(async move {
                connection::turn_away(stream, answer).await;
                drop(place);
            });
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
