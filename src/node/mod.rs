//! The node: rooms by name, sessions, and what both count. What `http` and `session` call, and where
//! an embedder begins.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use slab::Slab;
use uuid::Uuid;

use crate::{
    config::{Config, ConfigError, RoomConfig},
    fanout::{Fanout, RoomSetup},
    feed::FeedBudget,
    history::HistoryBudget,
    id::{RoomName, UserId},
    metrics::{Counters, Deliveries},
    sync::Mutex,
};

mod access;
mod ask;
mod budget;
mod encoder;
mod entry;
mod error;
mod hooks;
mod house;
mod quota;
mod rates;
mod relief;
mod room;
mod rooms;
mod sessions;
mod status;

pub use access::{Access, Credentials, Expiry, Grant, Identity, NO_KEYS};
pub(crate) use ask::AnyHooks;
pub use budget::{Budget, Spending};
pub use encoder::Tongue;
pub use error::{AccessError, RoomError};
pub use hooks::{Arrival, Hooks, RequestHead, RpcError, Wish};
pub use quota::{Quota, Share, network_of};
pub use rates::Rates;
pub use room::{NamedRoom, Subscription};
pub use sessions::SessionGuard;
pub use status::{DeliveryStatus, NodeStatus, RoomSummary};

use encoder::RoomEncoder;
use rates::Sampler;
use rooms::Rooms;
use sessions::SessionEntry;

/// How old a status may be that is shown to those who watch, half of the interval at which they look.
/// Each status walks over all members, so without it every watcher would cost a walk of its own.
const STATUS_AGE_MAX: Duration = Duration::from_millis(500);

/// Everything that the ways in share.
#[derive(Debug)]
pub struct Node<F: Fanout> {
    config: Config,
    id: String,
    started: Instant,
    counters: Counters,
    deliveries: Arc<Deliveries>,
    history_budget: Arc<HistoryBudget>,
    feed_budget: Arc<FeedBudget>,
    access: Access,
    /// What the embedder decides itself, if anything.
    hooks: Option<Box<dyn AnyHooks<F>>>,
    /// Connections that have said whose they are, by user.
    users: Arc<Quota<UserId>>,
    /// Connections by address.
    addresses: Arc<Quota<IpAddr>>,
    rooms: Rooms<F>,
    /// Who is connected, for drains and counts. Taken alone, at a session's start and end.
    sessions: Mutex<Slab<SessionEntry>>,
    /// Taken alone, by the sampler once a second and by whoever asks.
    sampler: Mutex<Sampler>,
    /// Taken alone, by those who watch the status.
    board: Mutex<Board>,
}

/// The status as it was last shown to those who watch.
#[derive(Debug, Default)]
struct Board {
    at: Option<Instant>,
    text: Bytes,
}

impl<F: Fanout> Node<F> {
    /// A node without rooms or sessions.
    ///
    /// # Errors
    /// [`ConfigError`], when what tokens are checked by can't be used.
    pub fn new(config: Config) -> Result<Arc<Self>, ConfigError> {
        Self::build(config, None)
    }

    /// The same, where `hooks` are asked.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_hooks(config: Config, hooks: impl Hooks<F>) -> Result<Arc<Self>, ConfigError> {
        Self::build(config, Some(Box::new(hooks)))
    }

    pub(crate) fn build(
        config: Config,
        hooks: Option<Box<dyn AnyHooks<F>>>,
    ) -> Result<Arc<Self>, ConfigError> {
        let history_budget = Arc::new(HistoryBudget::new(config.limits.history_bytes));
        let feed_budget = Arc::new(FeedBudget::new(config.limits.feed_bytes));
        Ok(Arc::new(Self {
            access: Access::new(&config)?,
            hooks,
            users: Quota::new(config.limits.connections_per_user),
            addresses: Quota::new(config.limits.connections_per_address),
            config,
            id: Uuid::new_v4().to_string(),
            started: Instant::now(),
            counters: Counters::default(),
            deliveries: Arc::new(Deliveries::default()),
            history_budget,
            feed_budget,
            rooms: Rooms::default(),
            sessions: Mutex::new(Slab::new()),
            sampler: Mutex::new(Sampler::new(Instant::now())),
            board: Mutex::default(),
        }))
    }

    /// How the server runs.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Unique for each start of a server.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the node counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where all rooms count their deliveries.
    #[must_use]
    pub fn deliveries(&self) -> &Arc<Deliveries> {
        &self.deliveries
    }

    /// What decides who may connect.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The connections by address.
    #[must_use]
    pub fn addresses(&self) -> &Arc<Quota<IpAddr>> {
        &self.addresses
    }

    /// How long the node has been there.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The status as JSON, up to [`STATUS_AGE_MAX`] old: made once for all who watch, however many.
    pub(crate) async fn status_text(&self, rooms_max: usize) -> Bytes {
        {
            let mut board = self.board.lock();
            if board.at.is_some_and(|at| at.elapsed() < STATUS_AGE_MAX) {
                return board.text.clone();
            }
            if board.at.is_some() {
                // Whoever else looks meanwhile has the old one.
                board.at = Some(Instant::now());
            }
        }
        let status = self.status(rooms_max).await;
        let text =
            serde_json::to_vec(&status).expect("a status has string keys and goes to memory");
        let text = Bytes::from(text);
        *self.board.lock() = Board {
            at: Some(Instant::now()),
            text: text.clone(),
        };
        text
    }

    /// What goes on, with the `rooms_max` rooms that have the most members.
    pub async fn status(&self, rooms_max: usize) -> NodeStatus {
        let rooms = self.rooms.all();
        let rates = self.sampler.lock().rates();
        let mut status = status::collect(self, &rooms, rates, rooms_max).await;
        // Last: a session that is counted as closed is not among them any more.
        status.connections = self.sessions();
        status.users = self.users.holders();
        status
    }

    fn open(&self, name: &RoomName, config: &RoomConfig) -> NamedRoom<F> {
        let feeds = Arc::new(FeedBudget::part_of(self.feed_budget.clone()));
        let setup = RoomSetup {
            config: config.clone(),
            encoder: Box::new(RoomEncoder::new(name)),
            deliveries: self.deliveries.clone(),
            history_budget: self.history_budget.clone(),
            feed_budget: feeds.clone(),
        };
        NamedRoom::new(name.clone(), config, F::open(setup), feeds)
    }
}
