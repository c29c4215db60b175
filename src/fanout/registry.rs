//! The lock engine: a room is a `RwLock<Slab<Client>>` that every connection task shares.
//!
//! Whoever publishes appends to the room's feeds under its order mutex, lets that go, and then walks
//! the slab under the read lock, telling each member that there is something new. Many publishers
//! walk at once; only coming and going takes the write lock.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use slab::Slab;

use super::{
    Admission, BROKEN, CatchUp, Fanout, HistoryPage, HistoryQuery, HistoryRefusal, Newcomer, Pace,
    Receipt, Retired, RoomSetup, RoomStatus, Vacancy,
    client::{self, Client},
    growth::Growth,
    timeline::Timeline,
    wake_queue::WakeQueue,
};
use crate::{
    id::ClientId,
    publication::{ClientInfo, Publication},
    sync::{
        Mutex, MutexGuard, RwLock,
        atomic::{AtomicUsize, Ordering},
        contained,
    },
};

/// Every so many publishes, the order mutex is handed to whoever waits for it: parking_lot lets a
/// publisher that loops take it again and again, and a join would starve. Handing over every time
/// would cost each contended publish a context switch.
const PUBLISHES_PER_HANDOVER: usize = 32;

/// One room of the lock engine.
#[derive(Debug)]
pub struct Registry {
    /// Numbers, history, feeds: what has one order. A mutex, because every use of it writes. First
    /// in the room's lock order; `clients` may be taken under it, to come and to go.
    order: Mutex<Timeline>,
    /// The members. Held for reading by walks, for writing to come and to go, and never while
    /// anything is sent, awaited or logged.
    clients: RwLock<Slab<Client>>,
    publishes: AtomicUsize,
    wake_queue: Arc<WakeQueue>,
}

impl Fanout for Registry {
    const NAME: &'static str = "lock";

    fn open(setup: RoomSetup) -> Arc<Self> {
        Arc::new(Self {
            order: Mutex::new(Timeline::new(setup)),
            clients: RwLock::new(Slab::new()),
            publishes: AtomicUsize::new(0),
            wake_queue: Arc::default(),
        })
    }

    async fn publish(&self, batch: &mut Vec<Publication>, pace: Pace) -> Result<Receipt, Retired> {
        self.whole(|| self.take(batch, pace)).unwrap_or_else(|| {
            // Nobody knows what became of it. Left as it is, it would break the next room, too.
            batch.clear();
            Err(Retired)
        })
    }

    async fn subscribe(
        self: &Arc<Self>,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        self.wake_queue.live_here();
        self.whole(|| self.admit(newcomer, &catch_up))
            .unwrap_or(Err(Retired))
    }

    fn leave(&self, id: ClientId) {
        // It is left all the same: who is out of the slab is out.
        self.whole(|| self.dismiss(id)).unwrap_or_default();
    }

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        self.whole(|| client::presence(&self.clients.read()))
            .unwrap_or_default()
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        self.whole(|| self.order.lock().history(&query))
            .unwrap_or(Err(HistoryRefusal::Off))
    }

    async fn remove_history(&self) -> Result<(), HistoryRefusal> {
        let removed = self.whole(|| self.order.lock().remove_history());
        let removed = removed.unwrap_or(Err(HistoryRefusal::Off))?;
        // It can be much, so it is dropped with no lock held.
        drop(removed);
        Ok(())
    }

    async fn status(&self) -> RoomStatus {
        let status = self.whole(|| {
            let order = self.order.lock();
            order.status(&self.clients.read())
        });
        status.unwrap_or_default()
    }

    async fn tidy(&self, now: Instant) {
        let tidied = self.whole(|| {
            let growth = {
                let mut order = self.order.lock();
                let mut clients = self.clients.write();
                client::shrink(&mut clients);
                order.tidy(&clients, now)
            };
            self.tell(growth);
        });
        tidied.unwrap_or_default();
    }

    async fn relieve(&self, long: Duration, now: Instant) {
        let relieved = self.whole(|| {
            let growth = {
                let mut order = self.order.lock();
                order.relieve(&self.clients.read(), long, now)
            };
            self.tell(growth);
        });
        relieved.unwrap_or_default();
    }

    fn retire_if_vacant(&self, now: Instant) -> Vacancy {
        self.whole(|| self.order.lock().retire_if_vacant(now))
            .unwrap_or(Vacancy::Retired)
    }

    fn retire_if_deserted(&self) -> bool {
        // What it remembered can be much, so it is dropped with no lock held.
        let remembered = self.whole(|| self.order.lock().retire_if_deserted());
        remembered.is_none_or(|remembered| remembered.is_some())
    }
}

/// What the contract's methods do, if no bug breaks them off.
impl Registry {
    fn take(&self, batch: &mut Vec<Publication>, pace: Pace) -> Result<Receipt, Retired> {
        let mut order = self.order.lock();
        let published = order.publish(batch, pace);
        let count = self.publishes.fetch_add(1, Ordering::Relaxed);
        if count.is_multiple_of(PUBLISHES_PER_HANDOVER) {
            MutexGuard::unlock_fair(order);
        } else {
            drop(order);
        }
        let (receipt, growth) = published?;
        self.tell(growth);
        Ok(receipt)
    }

    fn admit(
        self: &Arc<Self>,
        newcomer: Newcomer,
        catch_up: &CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        let (admission, growth) = {
            let mut order = self.order.lock();
            let (admitted, growth) = order.admit(newcomer, catch_up)?;
            // Under the order: a publication either comes before the snapshot, and is in it, or
            // after this insert, and its walk finds the newcomer.
            let insert = |client| self.clients.write().insert(client);
            (admitted.enter(self.clone(), insert), growth)
        };
        self.tell(growth);
        Ok(admission)
    }

    fn dismiss(&self, id: ClientId) {
        let (left, growth) = {
            let mut order = self.order.lock();
            let Some(left) = client::take(&mut self.clients.write(), id) else {
                return;
            };
            let growth = order.dismiss(&left);
            (left, growth)
        };
        // What it held is dropped with no lock held.
        drop(left);
        self.tell(growth);
    }

    /// What `work` returns. If a bug breaks it off there is none, and the room is at its end: it is
    /// retired, so that its name is free for another, and its members are sent away.
    fn whole<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let done = contained(work);
        if done.is_none() {
            let mut order = self.order.lock();
            order.break_off(&self.clients.read());
            drop(order);
            // Nobody is woken under a lock.
            let members = self.clients.read().clone();
            client::send_away(&members, BROKEN);
        }
        done
    }

    fn tell(&self, mut growth: Growth) {
        if growth.is_empty() {
            return;
        }
        let told = client::tell(&self.clients.read(), &mut growth);
        growth.settle();
        self.wake_queue.wake(told);
    }
}
