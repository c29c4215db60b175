//! How many rooms are looked at to find the one that makes way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use slabcast::{
    fanout::{
        Admission, CatchUp, Fanout, HistoryPage, HistoryQuery, HistoryRefusal, Membership,
        Newcomer, Pace, Receipt, Retired, RoomSetup, RoomStatus, Vacancy,
    },
    feed::{Feed, LagLimit},
    id::ClientId,
    publication::{ClientInfo, Publication},
};

use crate::{join, node, publish};

/// A room that its history keeps when nobody is in it.
#[derive(Debug, Default)]
struct Remembering {
    members: AtomicUsize,
}

/// How often such rooms were asked.
static LOOKS: AtomicU64 = AtomicU64::new(0);

impl Fanout for Remembering {
    const NAME: &'static str = "remembering";

    fn open(_: RoomSetup) -> Arc<Self> {
        Arc::default()
    }

    async fn publish(&self, batch: &mut Vec<Publication>, _: Pace) -> Result<Receipt, Retired> {
        batch.clear();
        Ok(Receipt {
            position: None,
            members: self.members.load(Ordering::Relaxed),
            waits_at: None,
        })
    }

    async fn subscribe(
        self: &Arc<Self>,
        _: Newcomer,
        _: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        self.members.fetch_add(1, Ordering::Relaxed);
        let id = ClientId {
            slot: 0,
            generation: 1,
        };
        let lag = LagLimit {
            bytes: 1,
            messages: 1,
        };
        Ok(Admission {
            membership: Membership::new(self.clone(), id),
            feed: Arc::new(Feed::new(lag)),
            position: None,
            missed: None,
        })
    }

    fn leave(&self, _: ClientId) {
        self.members.fetch_sub(1, Ordering::Relaxed);
    }

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        Vec::new()
    }

    async fn history(&self, _: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        Err(HistoryRefusal::Off)
    }

    async fn status(&self) -> RoomStatus {
        RoomStatus::default()
    }

    async fn tidy(&self, _: Instant) {}

    fn retire_if_vacant(&self, _: Instant) -> Vacancy {
        LOOKS.fetch_add(1, Ordering::Relaxed);
        match self.members.load(Ordering::Relaxed) {
            0 => Vacancy::Remembered,
            _ => Vacancy::Occupied,
        }
    }

    fn retire_if_deserted(&self) -> bool {
        LOOKS.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[tokio::test]
async fn making_way_looks_at_one_room_of_a_hundred_thousand() {
    const ROOMS_MAX: usize = 100_000;
    const MORE: u64 = 1_000;
    let node = node::<Remembering>(ROOMS_MAX, |_| ());
    for index in 0..ROOMS_MAX {
        publish(&node, &format!("room {index}")).await.unwrap();
    }
    // The oldest are no longer vacant.
    let mut members = Vec::new();
    for index in 0..1_000 {
        members.push(join(&node, &format!("room {index}")).await.unwrap());
    }
    let before = LOOKS.load(Ordering::Relaxed);
    for index in 0..MORE {
        publish(&node, &format!("more {index}")).await.unwrap();
    }
    let looks = LOOKS.load(Ordering::Relaxed) - before;
    // Whether it is vacant, and to let it go; and at the new one, once it was published in.
    assert_eq!(looks, 3 * MORE);
    let status = node.status(0).await;
    assert_eq!((status.num_rooms, status.rooms_evicted), (ROOMS_MAX, MORE));
}
