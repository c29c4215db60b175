//! Engines that are broken on purpose: the suite is worth something only if they fail it.

use std::{
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::BytesMut;
use slab::Slab;
use slabcast::{
    fanout::{
        Admission, CatchUp, Dialect, Encode, Event, Fanout, HistoryPage, HistoryQuery,
        HistoryRefusal, Membership, Newcomer, Pace, Receipt, Registry, Retired, RoomSetup,
        RoomStatus, Vacancy, engine::Client,
    },
    id::ClientId,
    publication::{ClientInfo, Publication},
};
use tokio::sync::Mutex;

use crate::{
    promises,
    support::coordination::{Members, Mutexed, Ordered},
};

/// What befalls the publications of every second member.
trait Fault: Default + fmt::Debug + Send + 'static {
    /// Spoils what is the `count`-th to be published.
    fn spoil(&mut self, count: usize, batch: &mut Vec<Publication>);
}

/// None: what is broken below is broken by its fault, and not by its make.
#[derive(Debug, Default)]
struct Sound;

impl Fault for Sound {
    fn spoil(&mut self, _: usize, _: &mut Vec<Publication>) {}
}

/// Every hundredth is lost.
#[derive(Debug, Default)]
struct Loses;

impl Fault for Loses {
    fn spoil(&mut self, count: usize, batch: &mut Vec<Publication>) {
        if count % 100 == 50 {
            batch.clear();
        }
    }
}

/// Every hundredth comes after the one behind it.
#[derive(Debug, Default)]
struct Reorders(Vec<Publication>);

impl Fault for Reorders {
    fn spoil(&mut self, count: usize, batch: &mut Vec<Publication>) {
        if count % 100 == 50 {
            mem::swap(batch, &mut self.0);
        } else {
            batch.append(&mut self.0);
        }
    }
}

/// Every hundredth comes twice.
#[derive(Debug, Default)]
struct Duplicates;

impl Fault for Duplicates {
    fn spoil(&mut self, count: usize, batch: &mut Vec<Publication>) {
        if count % 100 == 50 {
            batch.extend_from_within(..);
        }
    }
}

/// Two sound rooms in one, of which the second is spoilt.
#[derive(Debug)]
struct Broken<T> {
    rooms: [Arc<Registry>; 2],
    /// Across both, so that a fault is all there is between them.
    order: Mutex<(usize, T)>,
    memberships: parking_lot::Mutex<Slab<Membership<Registry>>>,
}

/// One encoder for both rooms.
#[derive(Debug, Clone)]
struct Shared(Arc<dyn Encode>);

impl Encode for Shared {
    fn dialects(&self) -> usize {
        self.0.dialects()
    }

    fn encode(&self, dialect: Dialect, event: Event<'_>, out: &mut BytesMut) {
        self.0.encode(dialect, event, out);
    }
}

impl<T: Fault> Fanout for Broken<T>
where
    T: Sync,
{
    const NAME: &'static str = "broken";

    fn open(setup: RoomSetup) -> Arc<Self> {
        let encoder = Shared(setup.encoder.into());
        let rooms = [(); 2].map(|()| {
            Registry::open(RoomSetup {
                config: setup.config.clone(),
                encoder: Box::new(encoder.clone()),
                deliveries: setup.deliveries.clone(),
                history_budget: setup.history_budget.clone(),
                feed_budget: setup.feed_budget.clone(),
            })
        });
        Arc::new(Self {
            rooms,
            order: Mutex::default(),
            memberships: parking_lot::Mutex::default(),
        })
    }

    async fn publish(&self, batch: &mut Vec<Publication>, pace: Pace) -> Result<Receipt, Retired> {
        let mut order = self.order.lock().await;
        let (count, fault) = &mut *order;
        *count += 1;
        let mut spoilt = batch.clone();
        fault.spoil(*count, &mut spoilt);
        self.rooms[1].publish(&mut spoilt, pace).await?;
        self.rooms[0].publish(batch, pace).await
    }

    async fn subscribe(
        self: &Arc<Self>,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        let _order = self.order.lock().await;
        let room = &self.rooms[self.memberships.lock().len() % 2];
        let admission = room.subscribe(newcomer, catch_up).await?;
        let generation = admission.membership.id().generation;
        let slot = self.memberships.lock().insert(admission.membership);
        Ok(Admission {
            membership: Membership::new(self.clone(), ClientId { slot, generation }),
            feed: admission.feed,
            position: admission.position,
            missed: admission.missed,
        })
    }

    fn leave(&self, id: ClientId) {
        let left = self.memberships.lock().try_remove(id.slot);
        drop(left);
    }

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        self.rooms[0].presence().await
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        self.rooms[0].history(query).await
    }

    async fn status(&self) -> RoomStatus {
        let spoilt = self.rooms[1].status().await;
        let mut status = self.rooms[0].status().await;
        status.clients += spoilt.clients;
        status.pending += spoilt.pending;
        status
    }

    async fn tidy(&self, now: Instant) {
        self.rooms[0].tidy(now).await;
    }

    fn retire_if_vacant(&self, now: Instant) -> Vacancy {
        self.rooms[0].retire_if_vacant(now)
    }
}

/// Every hundredth walk finds nobody: that publication rings nowhere.
#[derive(Debug, Default)]
struct Absent {
    members: Mutexed<Client>,
    walks: AtomicUsize,
}

impl Members<Client> for Absent {
    const NAME: &'static str = "absent";

    fn insert(&self, member: Client) -> usize {
        self.members.insert(member)
    }

    fn remove(
        &self,
        slot: usize,
        take: impl FnOnce(&mut Slab<Client>, usize) -> Option<Client>,
    ) -> Option<Client> {
        self.members.remove(slot, take)
    }

    fn walk(&self, visit: impl FnMut(&Slab<Client>)) {
        if self.walks.fetch_add(1, Ordering::Relaxed) % 100 != 50 {
            self.members.walk(visit);
        }
    }
}

/// Whoever leaves is sent away, and kept all the same.
#[derive(Debug, Default)]
struct Clinging(Mutexed<Client>);

impl Members<Client> for Clinging {
    const NAME: &'static str = "clinging";

    fn insert(&self, member: Client) -> usize {
        self.0.insert(member)
    }

    fn remove(
        &self,
        slot: usize,
        _: impl FnOnce(&mut Slab<Client>, usize) -> Option<Client>,
    ) -> Option<Client> {
        self.0
            .remove(slot, |clients, slot| clients.get(slot).cloned())
    }

    fn walk(&self, visit: impl FnMut(&Slab<Client>)) {
        self.0.walk(visit);
    }
}

/// A promise that an engine breaks, and what the suite says to that. Time is paused: where nothing
/// will ever happen, a minute of patience is over at once.
macro_rules! breaks {
    ($name:ident: $engine:ty, $promise:ident, $says:literal) => {
        #[tokio::test(start_paused = true)]
        #[should_panic(expected = $says)]
        async fn $name() {
            promises::$promise::<$engine>().await;
        }
    };
}

breaks!(who_loses_is_waited_for_in_vain: Broken<Loses>,
    every_member_gets_every_publication_in_one_order, "nobody rang");
breaks!(who_reorders_is_found_out: Broken<Reorders>,
    every_member_gets_every_publication_in_one_order, "one order for everybody");
breaks!(who_duplicates_is_found_out: Broken<Duplicates>,
    every_member_gets_every_publication_in_one_order, "one order for everybody");
breaks!(who_overlooks_members_is_found_out: Ordered<Absent>,
    no_wake_up_is_lost, "a publication that nobody heard of");
breaks!(who_lets_nobody_go_is_found_out: Ordered<Clinging>,
    presence_is_who_is_there, r#"left: ["ada", "bob"]"#);

#[tokio::test]
async fn without_its_fault_the_broken_engine_is_sound() {
    promises::every_member_gets_every_publication_in_one_order::<Broken<Sound>>().await;
}
