//! One hub task for all rooms, the tutorials' shape: it owns every room and every member, and all
//! others send it what they want done.
//!
//! Made as well as the shape allows: it takes commands many at a time, walks a room once for all that
//! was published in it meanwhile, and waits for nobody. `publish` waits while its queue is full.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use slab::Slab;
use slabcast::{
    fanout::{
        Admission, CatchUp, Fanout, HistoryPage, HistoryQuery, HistoryRefusal, Newcomer, Pace,
        Receipt, Retired, RoomSetup, RoomStatus, Vacancy,
        engine::{self, Client, Growth, Timeline, WakeQueue},
    },
    id::ClientId,
    publication::{ClientInfo, Publication},
};
use tokio::{
    runtime::{Handle, Id},
    sync::{mpsc, oneshot},
};

/// Commands that wait at the most; who has one more waits too.
const COMMANDS_MAX: usize = 1024;

/// Commands that are taken at once. All their rooms are walked and all their replies sent after the
/// last one, so ten times as many would make the first wait.
const TURN: usize = 64;

/// The hub of each runtime, while it has rooms.
static HUBS: LazyLock<Mutex<HashMap<Id, Weak<Mailbox>>>> = LazyLock::new(Mutex::default);

/// One room, as others see it.
pub struct SingleHub {
    key: u64,
    hub: Arc<Mailbox>,
}

/// The way to the hub.
struct Mailbox {
    commands: mpsc::Sender<Command>,
    /// What must not wait. Looked at before any command, so that who left and then publishes finds
    /// itself gone.
    notices: mpsc::UnboundedSender<Notice>,
    keys: AtomicU64,
}

enum Command {
    Publish {
        key: u64,
        batch: Vec<Publication>,
        pace: Pace,
        reply: oneshot::Sender<Published>,
    },
    Join {
        room: Arc<SingleHub>,
        newcomer: Newcomer,
        catch_up: CatchUp,
        reply: oneshot::Sender<Result<Admission<SingleHub>, Retired>>,
    },
    Ask {
        key: u64,
        ask: Box<dyn FnOnce(&mut Room) + Send>,
    },
}

enum Notice {
    Opened(u64, Box<Room>),
    Left(u64, ClientId),
    Dropped(u64),
}

/// What was left of a batch, and what became of the rest.
type Published = (Vec<Publication>, Result<Receipt, Retired>);

struct Room {
    order: Timeline,
    clients: Slab<Client>,
    /// What members were not told yet.
    growth: Growth,
    wake_queue: Arc<WakeQueue>,
}

impl fmt::Debug for SingleHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SingleHub").field(&self.key).finish()
    }
}

impl Mailbox {
    /// The hub of this runtime.
    fn of_this_runtime() -> Arc<Self> {
        let mut hubs = HUBS.lock();
        hubs.retain(|_, hub| hub.strong_count() > 0);
        let here = Handle::current().id();
        if let Some(hub) = hubs.get(&here).and_then(Weak::upgrade) {
            return hub;
        }
        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let (notices, notice_queue) = mpsc::unbounded_channel();
        tokio::spawn(Hub::default().run(command_queue, notice_queue));
        let hub = Arc::new(Self {
            commands,
            notices,
            keys: AtomicU64::new(0),
        });
        hubs.insert(here, Arc::downgrade(&hub));
        hub
    }

    fn notice(&self, notice: Notice) {
        // It fails only when the runtime is gone, and the hub and its rooms with it.
        let _ = self.notices.send(notice);
    }
}

impl Fanout for SingleHub {
    const NAME: &'static str = "single_hub";

    fn open(setup: RoomSetup) -> Arc<Self> {
        let hub = Mailbox::of_this_runtime();
        let key = hub.keys.fetch_add(1, Ordering::Relaxed);
        let room = Room {
            order: Timeline::new(setup),
            clients: Slab::new(),
            growth: Growth::default(),
            wake_queue: Arc::default(),
        };
        hub.notice(Notice::Opened(key, Box::new(room)));
        Arc::new(Self { key, hub })
    }

    async fn publish(&self, batch: &mut Vec<Publication>, pace: Pace) -> Result<Receipt, Retired> {
        let (reply, replied) = oneshot::channel();
        // A place first: whoever is dropped while it waits for one has not lost its batch.
        let place = self.hub.commands.reserve().await.map_err(|_| Retired)?;
        place.send(Command::Publish {
            key: self.key,
            batch: mem::take(batch),
            pace,
            reply,
        });
        let (rest, receipt) = replied.await.map_err(|_| Retired)?;
        *batch = rest;
        receipt
    }

    async fn subscribe(
        self: &Arc<Self>,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        let (reply, replied) = oneshot::channel();
        self.command(Command::Join {
            room: self.clone(),
            newcomer,
            catch_up,
            reply,
        })
        .await;
        replied.await.map_err(|_| Retired)?
    }

    fn leave(&self, id: ClientId) {
        self.hub.notice(Notice::Left(self.key, id));
    }

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        self.ask(|room| engine::presence(&room.clients)).await
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        self.ask(move |room| room.order.history(&query)).await
    }

    async fn status(&self) -> RoomStatus {
        self.ask(|room| room.order.status(&room.clients)).await
    }

    async fn tidy(&self, now: Instant) {
        self.ask(move |room| {
            let Room { order, clients, .. } = room;
            let growth = order.tidy(clients, now);
            engine::shrink(clients);
            room.growth.merge(growth);
            room.tell();
        })
        .await;
    }

    async fn relieve(&self, long: Duration, now: Instant) {
        self.ask(move |room| {
            let Room { order, clients, .. } = room;
            let growth = order.relieve(clients, long, now);
            room.growth.merge(growth);
            room.tell();
        })
        .await;
    }

    /// Never: the hub would have to be asked, and this may not wait for its answer.
    fn retire_if_vacant(&self, _: Instant) -> Vacancy {
        Vacancy::Occupied
    }
}

impl Drop for SingleHub {
    fn drop(&mut self) {
        self.hub.notice(Notice::Dropped(self.key));
    }
}

impl SingleHub {
    async fn command(&self, command: Command) {
        // Should it fail, the reply's other end is gone too.
        let _ = self.hub.commands.send(command).await;
    }

    async fn ask<R: Send + 'static>(&self, ask: impl FnOnce(&mut Room) -> R + Send + 'static) -> R {
        let (reply, replied) = oneshot::channel();
        let key = self.key;
        let ask = Box::new(move |room: &mut Room| {
            let _ = reply.send(ask(room));
        });
        self.command(Command::Ask { key, ask }).await;
        replied.await.expect("the hub outlives its rooms")
    }
}

/// The task's own.
#[derive(Default)]
struct Hub {
    rooms: HashMap<u64, Room>,
    /// Rooms that have grown in this turn.
    grown: Vec<u64>,
    /// Sent after the walks: who is told that it has published, has reached its members.
    published: Vec<(oneshot::Sender<Published>, Published)>,
    joined: Vec<Joined>,
}

type Joined = (
    oneshot::Sender<Result<Admission<SingleHub>, Retired>>,
    Result<Admission<SingleHub>, Retired>,
);

impl Hub {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut notices: mpsc::UnboundedReceiver<Notice>,
    ) {
        let mut turn = Vec::with_capacity(TURN);
        loop {
            tokio::select! {
                biased;
                notice = notices.recv() => match notice {
                    Some(notice) => self.notice(notice),
                    // Every room is dropped, and the mailbox with the last.
                    None => return,
                },
                _ = commands.recv_many(&mut turn, TURN) => {}
            }
            while let Ok(notice) = notices.try_recv() {
                self.notice(notice);
            }
            for command in turn.drain(..) {
                self.command(command);
            }
            self.end_turn();
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Opened(key, room) => drop(self.rooms.insert(key, *room)),
            Notice::Dropped(key) => drop(self.rooms.remove(&key)),
            Notice::Left(key, id) => {
                let Some(room) = self.rooms.get_mut(&key) else {
                    return;
                };
                if let Some(left) = engine::take(&mut room.clients, id) {
                    let growth = room.order.dismiss(&left);
                    self.grow(key, growth);
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Publish {
                key,
                mut batch,
                pace,
                reply,
            } => {
                let published = match self.rooms.get_mut(&key) {
                    Some(room) => room.order.publish(&mut batch, pace),
                    None => Err(Retired),
                };
                let receipt = published.map(|(receipt, growth)| {
                    self.grow(key, growth);
                    receipt
                });
                self.published.push((reply, (batch, receipt)));
            }
            Command::Join {
                room,
                newcomer,
                catch_up,
                reply,
            } => {
                let admission = self.admit(room, newcomer, &catch_up);
                self.joined.push((reply, admission));
            }
            Command::Ask { key, ask } => {
                if let Some(room) = self.rooms.get_mut(&key) {
                    ask(room);
                }
            }
        }
    }

    fn admit(
        &mut self,
        handle: Arc<SingleHub>,
        newcomer: Newcomer,
        catch_up: &CatchUp,
    ) -> Result<Admission<SingleHub>, Retired> {
        let key = handle.key;
        let room = self.rooms.get_mut(&key).ok_or(Retired)?;
        let (admitted, growth) = room.order.admit(newcomer, catch_up)?;
        let admission = admitted.enter(handle, |client| room.clients.insert(client));
        self.grow(key, growth);
        Ok(admission)
    }

    /// Members are told at the end of the turn, once for all of it.
    fn grow(&mut self, key: u64, growth: Growth) {
        if growth.is_empty() {
            return;
        }
        let Some(room) = self.rooms.get_mut(&key) else {
            return;
        };
        if room.growth.is_empty() {
            self.grown.push(key);
        }
        room.growth.merge(growth);
    }

    fn end_turn(&mut self) {
        for key in self.grown.drain(..) {
            if let Some(room) = self.rooms.get_mut(&key) {
                room.tell();
            }
        }
        // Whoever no longer waits for a reply drops it here; an admission leaves by that.
        for (reply, published) in self.published.drain(..) {
            let _ = reply.send(published);
        }
        for (reply, admission) in self.joined.drain(..) {
            let _ = reply.send(admission);
        }
    }
}

impl Room {
    fn tell(&mut self) {
        let mut growth = mem::take(&mut self.growth);
        if !growth.is_empty() {
            self.wake_queue.live_here();
            let told = engine::tell(&self.clients, &mut growth);
            growth.settle();
            self.wake_queue.wake(told);
        }
    }
}
