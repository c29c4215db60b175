//! A load that is the same for every cell: rooms of members that are tasks, of which some publish too,
//! and laps that end when everybody has had everything.
//!
//! As in a server, one task is one member. A lap goes in rounds: each publisher of a room publishes its
//! window, and the next round begins when every member has had all of it. So exactly so many messages
//! are in flight as the shape says, no member can fall behind, and how many share a write is up to the
//! cell. Nobody waits by spinning; a member counts by itself, and says once a round that it is through.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use slabcast::{
    protocol::plain,
    publication::{PayloadKind, Publication},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Notify, watch},
    task::JoinSet,
};

use super::{
    cell::{Cell, Receiver, WIDE},
    clock,
    sink::NullSink,
};

/// As many workers as the machines that this is run on have cores, so that results can be compared.
const WORKERS: usize = 2;

/// What is delivered to whom.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub rooms: usize,
    /// Of each room.
    pub members: usize,
    /// Of each room; they are members of it. None: others publish.
    pub publishers: usize,
    /// Messages that a publisher publishes in a round.
    pub window: usize,
    pub payload_bytes: usize,
}

impl Shape {
    /// Messages that a round brings to each room.
    pub fn messages_per_round(&self) -> u64 {
        (self.publishers * self.window) as u64
    }

    /// Deliveries of a round in all rooms.
    pub fn deliveries_per_round(&self) -> u64 {
        self.messages_per_round() * (self.rooms * self.members) as u64
    }
}

/// What a lap took.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub deliveries: u64,
    pub writes: u64,
    pub bytes: u64,
    pub wall: Duration,
    /// Of the whole process, kernel included.
    pub cpu: Duration,
}

/// A runtime for everything that is measured.
pub fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(WORKERS).enable_all();
    builder.build().expect("threads can be started")
}

/// The same bytes in every run.
pub fn payload(bytes: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(bytes as u64);
    (0..bytes).map(|_| random.alphanumeric() as u8).collect()
}

/// A publication of so many bytes.
pub fn publication(bytes: usize) -> Publication {
    Publication::new(PayloadKind::Binary, payload(bytes))
}

/// Rooms with their members in them, kept from lap to lap.
pub struct Arena<C: Cell> {
    shape: Shape,
    rooms: Vec<(Arc<C>, Arc<Round>)>,
    lap: Arc<Lap>,
    members: JoinSet<()>,
}

/// What the members of all rooms know of the lap.
#[derive(Debug, Default)]
struct Lap {
    /// Rooms that are not through yet.
    remaining: AtomicUsize,
    done: Notify,
    writes: AtomicU64,
    bytes: AtomicU64,
}

/// What the members of one room know of the round. The last of them to have had all of it begins the
/// next one, and until then is alone with this: `left` is what orders their looks at the others.
#[derive(Debug)]
struct Round {
    /// Messages that each member has had at its end, since the beginning.
    target: AtomicU64,
    /// Members that have not.
    left: AtomicUsize,
    /// Rounds in the lap, with this one.
    rounds: AtomicU64,
    go: watch::Sender<()>,
}

impl<C: Cell> Arena<C> {
    /// Opens the rooms, and waits until all members have joined.
    pub async fn open(shape: Shape) -> Self {
        let lap = Arc::new(Lap::default());
        let mut rooms = Vec::new();
        let mut members = JoinSet::new();
        for _ in 0..shape.rooms {
            let cell = C::open(WIDE);
            let round = Arc::new(Round {
                target: AtomicU64::new(0),
                left: AtomicUsize::new(0),
                rounds: AtomicU64::new(0),
                go: watch::Sender::new(()),
            });
            for index in 0..shape.members {
                let member = Member {
                    receiver: cell.join().await,
                    sink: NullSink::default(),
                    shape,
                    lap: lap.clone(),
                    round: round.clone(),
                    had: 0,
                };
                if index < shape.publishers {
                    members.spawn(member.publish(cell.clone(), round.go.subscribe()));
                } else {
                    members.spawn(member.listen());
                }
            }
            rooms.push((cell, round));
        }
        Self {
            shape,
            rooms,
            lap,
            members,
        }
    }

    /// Ends the members and waits for that, so that it falls into nobody else's measurement.
    pub async fn close(mut self) {
        self.members.shutdown().await;
    }

    pub fn cells(&self) -> Vec<Arc<C>> {
        self.rooms.iter().map(|(cell, _)| cell.clone()).collect()
    }

    /// Has every publisher publish a window of messages `rounds` times, each time when every member of
    /// its room has had what came before.
    pub async fn lap(&self, rounds: u64) -> Outcome {
        let publishers = || {
            for (_, round) in &self.rooms {
                round.go.send_replace(());
            }
        };
        self.measure(rounds, self.shape.messages_per_round(), publishers)
            .await
    }

    /// A single round, of `each` messages in each room, which `publish` brings.
    pub async fn burst(&self, each: u64, publish: impl FnOnce()) -> Outcome {
        self.measure(1, each, publish).await
    }

    async fn measure(&self, rounds: u64, each: u64, publish: impl FnOnce()) -> Outcome {
        let Self { shape, lap, .. } = self;
        lap.writes.store(0, Ordering::Relaxed);
        lap.bytes.store(0, Ordering::Relaxed);
        lap.remaining.store(shape.rooms, Ordering::Relaxed);
        for (_, round) in &self.rooms {
            round.rounds.store(rounds, Ordering::Relaxed);
            round.begin(shape.members, each);
        }
        let cpu = clock::process_cpu();
        let start = Instant::now();
        publish();
        lap.done.notified().await;
        Outcome {
            wall: start.elapsed(),
            cpu: clock::process_cpu() - cpu,
            deliveries: rounds * each * (shape.rooms * shape.members) as u64,
            writes: lap.writes.load(Ordering::Relaxed),
            bytes: lap.bytes.load(Ordering::Relaxed),
        }
        .checked(shape.payload_bytes)
    }
}

impl Outcome {
    /// Nothing is lost and nothing comes twice, or a number says nothing.
    fn checked(self, payload_bytes: usize) -> Self {
        let mut frame = Vec::new();
        plain::put_publication(&mut frame, &publication(payload_bytes));
        assert_eq!(self.bytes, self.deliveries * frame.len() as u64, "{self:?}");
        self
    }
}

impl Round {
    fn begin(&self, members: usize, each: u64) {
        self.left.store(members, Ordering::Relaxed);
        // Whoever gets a message of this round finds its target: the message was published after it.
        self.target.fetch_add(each, Ordering::Release);
    }
}

struct Member<R> {
    receiver: R,
    sink: NullSink,
    shape: Shape,
    lap: Arc<Lap>,
    round: Arc<Round>,
    had: u64,
}

impl<R: Receiver> Member<R> {
    async fn listen(mut self) {
        loop {
            self.finish_round().await;
        }
    }

    /// Publishes its window in every round, as a session publishes what one read has brought: in one
    /// go.
    async fn publish<C: Cell>(mut self, cell: Arc<C>, mut go: watch::Receiver<()>) {
        let publication = publication(self.shape.payload_bytes);
        let mut batch = Vec::with_capacity(self.shape.window);
        while go.changed().await.is_ok() {
            batch.resize(self.shape.window, publication.clone());
            cell.publish(&mut batch).await;
            self.finish_round().await;
        }
    }

    /// Takes everything that this round brings.
    async fn finish_round(&mut self) {
        loop {
            let drained = self.receiver.drain(&mut self.sink).await;
            let drained = drained.expect("nobody lags in here");
            self.had += drained;
            let target = self.round.target.load(Ordering::Acquire);
            assert!(self.had <= target, "a message came twice");
            // Woken for what it had taken already, it has nothing to say a second time.
            if self.had == target && drained > 0 {
                return self.report();
            }
        }
    }

    fn report(&mut self) {
        let Self { round, lap, .. } = self;
        let rounds = round.rounds.load(Ordering::Relaxed);
        if rounds == 1 {
            let writes = mem::take(&mut self.sink.writes);
            lap.writes.fetch_add(writes, Ordering::Relaxed);
            let bytes = mem::take(&mut self.sink.bytes);
            lap.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if round.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if rounds > 1 {
            round.rounds.store(rounds - 1, Ordering::Relaxed);
            round.begin(self.shape.members, self.shape.messages_per_round());
            round.go.send_replace(());
        } else if lap.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            lap.done.notify_one();
        }
    }
}
