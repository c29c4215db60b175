//! The library's lock engine with its members kept elsewhere: an order mutex, and any [`Members`].

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

use super::{Handover, Members};

/// One room.
#[derive(Debug)]
pub struct Ordered<M> {
    order: Mutex<Timeline>,
    members: M,
    handover: Handover,
    wake_queue: Arc<WakeQueue>,
}

impl<M: Members<Client>> Fanout for Ordered<M> {
    const NAME: &'static str = M::NAME;

    fn open(setup: RoomSetup) -> Arc<Self> {
        Arc::new(Self {
            order: Mutex::new(Timeline::new(setup)),
            members: M::default(),
            handover: Handover::default(),
            wake_queue: Arc::default(),
        })
    }

    async fn publish(&self, batch: &mut Vec<Publication>, pace: Pace) -> Result<Receipt, Retired> {
        let mut order = self.order.lock();
        let published = order.publish(batch, pace);
        self.handover.unlock(order);
        let (receipt, growth) = published?;
        self.tell(growth);
        Ok(receipt)
    }

    async fn subscribe(
        self: &Arc<Self>,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        self.wake_queue.live_here();
        let (admission, growth) = {
            let mut order = self.order.lock();
            let (admitted, growth) = order.admit(newcomer, &catch_up)?;
            let insert = |client| self.members.insert(client);
            (admitted.enter(self.clone(), insert), growth)
        };
        self.tell(growth);
        Ok(admission)
    }

    fn leave(&self, id: ClientId) {
        let (left, growth) = {
            let mut order = self.order.lock();
            let take = |clients: &mut _, slot| engine::take(clients, ClientId { slot, ..id });
            let Some(left) = self.members.remove(id.slot, take) else {
                return;
            };
            let growth = order.dismiss(&left);
            (left, growth)
        };
        drop(left);
        self.tell(growth);
    }

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        engine::presence(&self.all())
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        self.order.lock().history(&query)
    }

    async fn status(&self) -> RoomStatus {
        let order = self.order.lock();
        order.status(&self.all())
    }

    async fn tidy(&self, now: Instant) {
        let growth = self.order.lock().tidy(&self.all(), now);
        self.tell(growth);
    }

    async fn relieve(&self, long: Duration, now: Instant) {
        let growth = self.order.lock().relieve(&self.all(), long, now);
        self.tell(growth);
    }

    fn retire_if_vacant(&self, now: Instant) -> Vacancy {
        self.order.lock().retire_if_vacant(now)
    }

    fn retire_if_deserted(&self) -> bool {
        let remembered = self.order.lock().retire_if_deserted();
        remembered.is_some()
    }
}

impl<M: Members<Client>> Ordered<M> {
    /// All shards as one. A copy of the references: what needs it is rare, and no part of a load.
    fn all(&self) -> Slab<Client> {
        let mut all = Slab::new();
        self.members.walk(|clients| {
            for (_, client) in clients {
                all.insert(client.clone());
            }
        });
        all
    }

    fn tell(&self, mut growth: Growth) {
        if growth.is_empty() {
            return;
        }
        let mut told = Vec::new();
        self.members
            .walk(|clients| told.append(&mut engine::tell(clients, &mut growth)));
        growth.settle();
        self.wake_queue.wake(told);
    }
}
