//! One mutex around everything that a room is: what an actor does, without the task.

use std::{
    sync::Arc,
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

use super::Handover;

/// One room.
#[derive(Debug)]
pub struct OneMutex {
    room: Mutex<Room>,
    handover: Handover,
}

#[derive(Debug)]
struct Room {
    order: Timeline,
    clients: Slab<Client>,
    wake_queue: Arc<WakeQueue>,
}

impl Room {
    fn tell(&self, mut growth: Growth) {
        if !growth.is_empty() {
            let told = engine::tell(&self.clients, &mut growth);
            growth.settle();
            self.wake_queue.wake(told);
        }
    }
}

impl Fanout for OneMutex {
    const NAME: &'static str = "one_mutex";

    fn open(setup: RoomSetup) -> Arc<Self> {
        Arc::new(Self {
            room: Mutex::new(Room {
                order: Timeline::new(setup),
                clients: Slab::new(),
                wake_queue: Arc::default(),
            }),
            handover: Handover::default(),
        })
    }

    async fn publish(&self, batch: &mut Vec<Publication>, pace: Pace) -> Result<Receipt, Retired> {
        let mut room = self.room.lock();
        let (receipt, growth) = room.order.publish(batch, pace)?;
        room.tell(growth);
        self.handover.unlock(room);
        Ok(receipt)
    }

    async fn subscribe(
        self: &Arc<Self>,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        let mut room = self.room.lock();
        room.wake_queue.live_here();
        let (admitted, growth) = room.order.admit(newcomer, &catch_up)?;
        let admission = admitted.enter(self.clone(), |client| room.clients.insert(client));
        room.tell(growth);
        Ok(admission)
    }

    fn leave(&self, id: ClientId) {
        let mut room = self.room.lock();
        let Some(left) = engine::take(&mut room.clients, id) else {
            return;
        };
        let growth = room.order.dismiss(&left);
        room.tell(growth);
        drop(room);
        drop(left);
    }

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        engine::presence(&self.room.lock().clients)
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        self.room.lock().order.history(&query)
    }

    async fn status(&self) -> RoomStatus {
        let Room { order, clients, .. } = &*self.room.lock();
        order.status(clients)
    }

    async fn tidy(&self, now: Instant) {
        let mut room = self.room.lock();
        let Room { order, clients, .. } = &mut *room;
        let growth = order.tidy(clients, now);
        engine::shrink(clients);
        room.tell(growth);
    }

    async fn relieve(&self, long: Duration, now: Instant) {
        let mut room = self.room.lock();
        let Room { order, clients, .. } = &mut *room;
        let growth = order.relieve(clients, long, now);
        room.tell(growth);
    }

    fn retire_if_vacant(&self, now: Instant) -> Vacancy {
        self.room.lock().order.retire_if_vacant(now)
    }

    fn retire_if_deserted(&self) -> bool {
        let remembered = self.room.lock().order.retire_if_deserted();
        remembered.is_some()
    }
}
