//! Rooms are made and dropped while others look for theirs.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use slabcast::{
    fanout::{
        Admission, CatchUp, Fanout, HistoryPage, HistoryQuery, HistoryRefusal, Newcomer, Pace,
        Receipt, Retired, RoomSetup, RoomStatus, Vacancy,
    },
    id::ClientId,
    node::Node,
    publication::{ClientInfo, Publication},
};

use crate::{name, node, publish};

/// How long somebody is waited for who must not be in anybody's way.
const PATIENCE: Duration = Duration::from_secs(5);

/// A room of which somebody looks for another while it is made, and while it is dropped. Its history
/// keeps it, and it counts what was published in it as members.
#[derive(Debug, Default)]
struct Watched {
    published: AtomicUsize,
}

static NODE: OnceLock<Arc<Node<Watched>>> = OnceLock::new();
/// Looks that others have done meanwhile, and those that had to wait.
static LOOKS: AtomicUsize = AtomicUsize::new(0);
static BLOCKED: AtomicUsize = AtomicUsize::new(0);
/// Whether whoever makes a room waits for somebody who makes another.
static HAVE_TWINS: AtomicBool = AtomicBool::new(false);
static OPENED: AtomicUsize = AtomicUsize::new(0);

/// Has another thread look for another room.
fn look_meanwhile() {
    let Some(node) = NODE.get() else { return };
    let (done, looked) = mpsc::channel();
    thread::spawn(move || {
        node.rights(&name("other"));
        let _ = done.send(());
    });
    let count = match looked.recv_timeout(PATIENCE) {
        Ok(()) => &LOOKS,
        Err(_) => &BLOCKED,
    };
    count.fetch_add(1, Ordering::SeqCst);
}

impl Drop for Watched {
    fn drop(&mut self) {
        look_meanwhile();
    }
}

impl Fanout for Watched {
    const NAME: &'static str = "watched";

    fn open(_: RoomSetup) -> Arc<Self> {
        look_meanwhile();
        OPENED.fetch_add(1, Ordering::SeqCst);
        let begin = Instant::now();
        while HAVE_TWINS.load(Ordering::SeqCst)
            && OPENED.load(Ordering::SeqCst) < 2
            && begin.elapsed() < PATIENCE
        {
            thread::yield_now();
        }
        Arc::default()
    }

    async fn publish(&self, batch: &mut Vec<Publication>, _: Pace) -> Result<Receipt, Retired> {
        self.published.fetch_add(batch.len(), Ordering::SeqCst);
        batch.clear();
        Ok(Receipt {
            position: None,
            members: 0,
            waits_at: None,
        })
    }

    async fn subscribe(
        self: &Arc<Self>,
        _: Newcomer,
        _: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        Err(Retired)
    }

    fn leave(&self, _: ClientId) {}

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        Vec::new()
    }

    async fn history(&self, _: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        Err(HistoryRefusal::Off)
    }

    async fn status(&self) -> RoomStatus {
        RoomStatus {
            clients: self.published.load(Ordering::SeqCst),
            ..RoomStatus::default()
        }
    }

    async fn tidy(&self, _: Instant) {}

    fn retire_if_vacant(&self, _: Instant) -> Vacancy {
        Vacancy::Remembered
    }

    fn retire_if_deserted(&self) -> bool {
        true
    }
}

/// Publishes there in a thread of its own.
fn publish_elsewhere(node: &Arc<Node<Watched>>, room: &'static str) -> thread::JoinHandle<()> {
    let node = node.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime
            .unwrap()
            .block_on(publish(&node, room))
            .expect("there is place for it");
    })
}

#[tokio::test]
async fn rooms_are_made_and_dropped_while_others_look_for_theirs() {
    let node = node::<Watched>(2, |_| ());
    NODE.set(node.clone()).expect("nobody else has one");
    // Two make one of the same name at once. Both use the same one, and the other is dropped.
    HAVE_TWINS.store(true, Ordering::SeqCst);
    for twin in [(); 2].map(|()| publish_elsewhere(&node, "twins")) {
        twin.join().unwrap();
    }
    HAVE_TWINS.store(false, Ordering::SeqCst);
    assert_eq!(BLOCKED.load(Ordering::SeqCst), 0, "somebody had to wait");
    assert_eq!(LOOKS.load(Ordering::SeqCst), 3, "two were made");
    assert_eq!(node.members(&name("twins")).await, 2, "both are in there");
    assert_eq!(node.status(0).await.num_rooms, 1);

    // One in the free place, and one in that of the twins, which goes.
    publish(&node, "a").await.unwrap();
    publish(&node, "b").await.unwrap();
    assert_eq!(node.members(&name("twins")).await, 0);
    assert_eq!(BLOCKED.load(Ordering::SeqCst), 0, "somebody had to wait");
    assert_eq!(LOOKS.load(Ordering::SeqCst), 6);
}
