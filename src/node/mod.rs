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
    config::{Config, ConfigError, PublishRight, RoomConfig, SubscribeRight},
    fanout::{
        Admission, CatchUp, Fanout, HistoryPage, HistoryQuery, HistoryRefusal, Newcomer, Pace,
        Patience, Receipt, Retired, RoomSetup,
    },
    feed::FeedBudget,
    history::HistoryBudget,
    id::{RoomName, UserId},
    metrics::{Counters, Deliveries},
    publication::{ClientInfo, Publication},
    sync::Mutex,
};

mod access;
mod ask;
mod budget;
mod encoder;
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
pub use room::{Room, Subscription};
pub use sessions::SessionGuard;
pub use status::{DeliveryStatus, NodeStatus, RoomSummary};

use encoder::RoomEncoder;
use rates::Sampler;
use rooms::{Excess, Rooms};
use sessions::SessionEntry;

/// How old a status may be that is shown to those who watch, half of the interval at which they look.
/// Each status walks over all members, so without it every watcher would cost a walk of its own.
const STATUS_AGE_MAX: Duration = Duration::from_millis(500);

/// How many rooms of one name a newcomer finds retired before it gives up. That one goes between two
/// steps is rare; so many do if it is the newcomer that breaks them.
const ROOMS_TRIED_MAX: usize = 16;

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

    /// Who may be in the room of that name, and who may publish there, whether it is there or not.
    pub fn rights(&self, name: &RoomName) -> (SubscribeRight, PublishRight) {
        match self.rooms.find(name) {
            Some(room) => room.rights(),
            None => match self.rooms.kept(name) {
                Some(config) => (config.subscribe, config.publish),
                None => {
                    let config = self.config.room(name.namespace());
                    (config.subscribe, config.publish)
                }
            },
        }
    }

    /// Opens the room of that name with options of its own, for as long as the node lives. For rooms
    /// that the embedder publishes in: before anybody else can have made it, for what is there
    /// already stays as it is. It is made whatever the limit of rooms
    /// says, and is one of them for those who come later.
    pub fn keep_room(&self, name: &RoomName, config: &RoomConfig) {
        self.rooms.keep(name, config);
        self.open_kept(name, config);
    }

    /// Admits `newcomer` to the room of that name, which comes into being if it is not there.
    ///
    /// # Errors
    /// [`RoomError::TooMany`] when it is not there and no further room may be.
    pub async fn subscribe(
        self: &Arc<Self>,
        name: &RoomName,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<(Subscription<F>, Admission<F>), RoomError> {
        let rooms_max = self.config.limits.rooms;
        self.admit_to(name, newcomer, catch_up, rooms_max).await
    }

    /// The same for the server, which puts connections in rooms of its own choice: the limit of rooms
    /// is for what peers ask for, and who fills it must not keep users out of their personal rooms.
    ///
    /// # Errors
    /// None at present.
    pub async fn subscribe_by_server(
        self: &Arc<Self>,
        name: &RoomName,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<(Subscription<F>, Admission<F>), RoomError> {
        self.admit_to(name, newcomer, catch_up, usize::MAX).await
    }

    async fn admit_to(
        self: &Arc<Self>,
        name: &RoomName,
        newcomer: Newcomer,
        catch_up: CatchUp,
        rooms_max: usize,
    ) -> Result<(Subscription<F>, Admission<F>), RoomError> {
        for _ in 0..ROOMS_TRIED_MAX {
            let room = self.room_within(name, rooms_max)?;
            match room
                .engine()
                .subscribe(newcomer.clone(), catch_up.clone())
                .await
            {
                Ok(admission) => {
                    self.rooms.note_occupied(&room);
                    return Ok((Subscription::new(self.clone(), room), admission));
                }
                Err(Retired) => self.rooms.forget(&room),
            }
        }
        Err(RoomError::Broken)
    }

    /// Publishes `batch` in the room of that name, which comes into being if it is not there, at the
    /// pace of its members that are not stalled. For callers that no member waits for; a session
    /// publishes through its [`Subscription`], or by [`publish_at`](Self::publish_at).
    ///
    /// # Errors
    /// [`RoomError::TooMany`] when it is not there and no further room may be.
    pub async fn publish(
        &self,
        name: &RoomName,
        batch: &mut Vec<Publication>,
    ) -> Result<Receipt, RoomError> {
        let mut patience = Patience::default();
        loop {
            let before = batch.len();
            let receipt = self.publish_at(name, batch, patience.pace()).await?;
            if batch.is_empty() {
                return Ok(receipt);
            }
            patience.note(before - batch.len());
            // Members that are not stalled have to run first.
            tokio::task::yield_now().await;
        }
    }

    /// Publishes one thing in the room of that name. As [`publish`](Self::publish).
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_one(
        &self,
        name: &RoomName,
        publication: Publication,
    ) -> Result<Receipt, RoomError> {
        self.publish(name, &mut vec![publication]).await
    }

    /// Publishes once what `pace` allows of `batch` in the room of that name, and leaves the rest in
    /// it.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_at(
        &self,
        name: &RoomName,
        batch: &mut Vec<Publication>,
        pace: Pace,
    ) -> Result<Receipt, RoomError> {
        loop {
            let room = self.room(name)?;
            let before = batch.len();
            let published = room.engine().publish(batch, pace).await;
            match published {
                Ok(receipt) => {
                    self.counters.published.add((before - batch.len()) as u64);
                    self.rooms.release(&room);
                    return Ok(receipt);
                }
                Err(Retired) => self.rooms.forget(&room),
            }
            if batch.len() < before {
                return Err(RoomError::Broken);
            }
        }
    }

    /// Who is in the room of that name.
    pub async fn presence(&self, name: &RoomName) -> Vec<Arc<ClientInfo>> {
        match self.rooms.find(name) {
            Some(room) => room.engine().presence().await,
            None => Vec::new(),
        }
    }

    /// How many members the room of that name has.
    pub async fn members(&self, name: &RoomName) -> usize {
        match self.rooms.find(name) {
            Some(room) => room.engine().status().await.clients,
            None => 0,
        }
    }

    /// What was published in the room of that name lately. The position in the answer stays true for
    /// as long as the room has members or history.
    ///
    /// # Errors
    /// None at present; the room may keep no such history.
    pub async fn history(
        &self,
        name: &RoomName,
        query: HistoryQuery,
    ) -> Result<Result<HistoryPage, HistoryRefusal>, RoomError> {
        if let Some(room) = self.rooms.find(name) {
            let page = room.engine().history(query).await;
            self.rooms.release(&room);
            return Ok(page);
        }
        // What it would say at its beginning. It would be let go at once, so it takes nobody's place.
        let room = self.open(name, self.config.room(name.namespace()));
        Ok(room.engine().history(query).await)
    }

    /// Forgets what was published in the room of that name. Its numbering goes on.
    ///
    /// # Errors
    /// The room keeps no history.
    pub async fn remove_history(&self, name: &RoomName) -> Result<(), HistoryRefusal> {
        if self.config.room(name.namespace()).history_size == 0 {
            return Err(HistoryRefusal::Off);
        }
        let Some(room) = self.rooms.find(name) else {
            return Ok(());
        };
        room.engine().remove_history().await?;
        self.rooms.release(&room);
        Ok(())
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

    fn room(&self, name: &RoomName) -> Result<Arc<Room<F>>, RoomError> {
        self.room_within(name, self.config.limits.rooms)
    }

    /// The room of that name, which is made if there are fewer than `rooms_max`, or if others can be
    /// let go for it.
    fn room_within(&self, name: &RoomName, rooms_max: usize) -> Result<Arc<Room<F>>, RoomError> {
        if let Some(room) = self.rooms.find(name) {
            return Ok(room);
        }
        if let Some(config) = self.rooms.kept(name) {
            return Ok(self.open_kept(name, &config));
        }
        let open = || self.open(name, self.config.room(name.namespace()));
        loop {
            match self.rooms.find_or_add(name, rooms_max, open) {
                Ok(room) => return Ok(room),
                Err(Excess(excess)) => {
                    if !self.rooms.make_way(excess, &self.counters.rooms_evicted) {
                        return Err(RoomError::TooMany { rooms_max });
                    }
                }
            }
        }
    }

    /// The room of that name, which is made if it is not there, whatever the limit says.
    fn open_kept(&self, name: &RoomName, config: &RoomConfig) -> Arc<Room<F>> {
        let open = || self.open(name, config).kept();
        let made = self.rooms.find_or_add(name, usize::MAX, open);
        made.expect("there is no limit for it")
    }

    fn open(&self, name: &RoomName, config: &RoomConfig) -> Room<F> {
        let feeds = Arc::new(FeedBudget::part_of(self.feed_budget.clone()));
        let setup = RoomSetup {
            config: config.clone(),
            encoder: Box::new(RoomEncoder::new(name)),
            deliveries: self.deliveries.clone(),
            history_budget: self.history_budget.clone(),
            feed_budget: feeds.clone(),
        };
        Room::new(name.clone(), config, F::open(setup), feeds)
    }
}
