//! A load that is the same for every cell: rooms of members that are tasks, of which some publish too,
//! and laps that end when everybody has had everything.
//!
//! As in a server, one task is one member: it drains what waits for it and then publishes what that
//! allows. Nobody waits by spinning, and no counter is shared while a lap runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use slabcast::publication::{PayloadKind, Publication};
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
    /// Messages that a publisher has on their way at the most.
    pub window: usize,
    pub payload_bytes: usize,
}

impl Shape {
    /// Members that get one message, all publishers publishing it once.
    pub fn deliveries_per_message(&self) -> u64 {
        (self.rooms * self.members * self.publishers) as u64
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
    Publication {
        kind: PayloadKind::Binary,
        payload: payload(bytes),
        info: None,
    }
}

/// Rooms with their members in them, kept from lap to lap.
pub struct Arena<C: Cell> {
    shape: Shape,
    cells: Vec<Arc<C>>,
    lap: Arc<Lap>,
    go: watch::Sender<u64>,
    members: JoinSet<()>,
}

/// What the members of all rooms know of the lap.
#[derive(Debug, Default)]
struct Lap {
    /// Messages that each member has had at its end, since the beginning.
    target: AtomicU64,
    remaining: AtomicUsize,
    done: Notify,
    writes: AtomicU64,
    bytes: AtomicU64,
}

impl Lap {
    /// A member has had all of it.
    fn finish(&self, sink: &mut NullSink) {
        self.writes
            .fetch_add(std::mem::take(&mut sink.writes), Ordering::Relaxed);
        self.bytes
            .fetch_add(std::mem::take(&mut sink.bytes), Ordering::Relaxed);
        // Release and acquire, so that whoever reads the sums has all of them.
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }
}

impl<C: Cell> Arena<C> {
    /// Opens the rooms, and waits until all members have joined.
    pub async fn open(shape: Shape) -> Self {
        let mut arena = Self {
            shape,
            cells: Vec::new(),
            lap: Arc::default(),
            go: watch::Sender::new(0),
            members: JoinSet::new(),
        };
        for _ in 0..shape.rooms {
            let cell = C::open(WIDE);
            for index in 0..shape.members {
                let member = Member {
                    receiver: cell.join().await,
                    sink: NullSink::default(),
                    lap: arena.lap.clone(),
                    had: 0,
                };
                if index < shape.publishers {
                    let go = arena.go.subscribe();
                    arena.members.spawn(member.publish(cell.clone(), shape, go));
                } else {
                    arena.members.spawn(member.listen());
                }
            }
            arena.cells.push(cell);
        }
        arena
    }

    /// Ends the members and waits for that, so that it falls into nobody else's measurement.
    pub async fn close(mut self) {
        self.members.shutdown().await;
    }

    pub fn cells(&self) -> &[Arc<C>] {
        &self.cells
    }

    /// Has every publisher publish `messages`, and waits until every member has had all of them.
    pub async fn lap(&self, messages: u64) -> Outcome {
        let each = messages * self.shape.publishers as u64;
        self.measure(each, async {
            self.go.send_replace(messages);
        })
        .await
    }

    /// Waits until every member has had the `each` messages that `publishing` brings to its room.
    pub async fn measure(&self, each: u64, publishing: impl Future<Output = ()>) -> Outcome {
        let Self { shape, lap, .. } = self;
        let members = shape.rooms * shape.members;
        lap.writes.store(0, Ordering::Relaxed);
        lap.bytes.store(0, Ordering::Relaxed);
        lap.remaining.store(members, Ordering::Relaxed);
        lap.target.fetch_add(each, Ordering::Release);
        let cpu = clock::process_cpu();
        let start = Instant::now();
        publishing.await;
        lap.done.notified().await;
        Outcome {
            wall: start.elapsed(),
            cpu: clock::process_cpu() - cpu,
            deliveries: each * members as u64,
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
        slabcast::protocol::plain::put_publication(&mut frame, &publication(payload_bytes));
        assert_eq!(self.bytes, self.deliveries * frame.len() as u64, "{self:?}");
        self
    }
}

struct Member<R> {
    receiver: R,
    sink: NullSink,
    lap: Arc<Lap>,
    had: u64,
}

impl<R: Receiver> Member<R> {
    async fn listen(mut self) {
        loop {
            self.drain().await;
        }
    }

    async fn drain(&mut self) {
        let drained = self.receiver.drain(&mut self.sink).await;
        let drained = drained.expect("nobody lags in here");
        self.had += drained;
        let target = self.lap.target.load(Ordering::Acquire);
        assert!(self.had <= target, "a message came twice");
        // Woken for what it had taken already, it has nothing to say a second time.
        if self.had == target && drained > 0 {
            self.lap.finish(&mut self.sink);
        }
    }

    /// Publishes what `go` says, and no more than its window ahead of all publishers together: it has
    /// had as many messages as each of them has published so far, on average.
    async fn publish<C: Cell>(mut self, cell: Arc<C>, shape: Shape, mut go: watch::Receiver<u64>) {
        let publication = publication(shape.payload_bytes);
        let mut batch = Vec::with_capacity(shape.window);
        while go.changed().await.is_ok() {
            let messages = *go.borrow_and_update();
            let all = messages * shape.publishers as u64;
            let begin = self.had;
            let mut published = 0;
            loop {
                let back = (self.had - begin) / shape.publishers as u64;
                let allowed = messages.min(back + shape.window as u64);
                if allowed > published {
                    batch.extend((published..allowed).map(|_| publication.clone()));
                    cell.publish(&mut batch).await;
                    published = allowed;
                }
                if self.had - begin == all {
                    break;
                }
                self.drain().await;
            }
        }
    }
}
