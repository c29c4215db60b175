//! What every cell of the study's matrix promises, whatever it is made of: less than an engine does,
//! but all that is measured of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use slabcast::{
    fanout::{Hub, Registry},
    feed::LagLimit,
    publication::{PayloadKind, Publication},
};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    members::PATIENCE,
    support::{
        cell::{BroadcastDrained, BroadcastPump, Cell, FeedCell, PushHub, Pushed, Receiver, WIDE},
        coordination::{Mutexed, RwLocked, Sharded, SingleHub, Snapshot, StdRwLocked},
        delivery::{Copied, Delivery, Drained, SharedBytes, WritePump},
        sink::Recording,
    },
};

const PUBLISHERS: usize = 4;
const EACH: usize = 500;

async fn publish(cell: &impl Cell, texts: &[&str]) {
    let publication = |text: &&str| {
        Publication::new(PayloadKind::Binary, Bytes::copy_from_slice(text.as_bytes()))
    };
    let mut batch = texts.iter().map(publication).collect();
    cell.publish(&mut batch).await;
    assert!(batch.is_empty(), "what was published is taken");
}

/// What stands in short frames, one behind the other.
fn messages(mut frames: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while let [0x82, bytes, rest @ ..] = frames {
        let (payload, next) = rest.split_at(usize::from(*bytes));
        messages.push(String::from_utf8(payload.to_vec()).unwrap());
        frames = next;
    }
    assert!(frames.is_empty(), "whole frames only");
    messages
}

/// Everything until there are `count`.
async fn take(receiver: &mut impl Receiver, count: usize) -> Vec<String> {
    let mut sink = Recording::default();
    let mut counted = 0;
    while messages(&sink.0).len() < count {
        let drained = timeout(PATIENCE, receiver.drain(&mut sink)).await;
        counted += drained.expect("nothing comes").unwrap() as usize;
    }
    let messages = messages(&sink.0);
    assert_eq!(messages.len(), counted, "as many as it says");
    messages
}

/// What three members get of what four publish at once.
async fn heard_by_all<C: Cell>() -> Vec<Vec<String>> {
    let cell = C::open(WIDE);
    let mut members = JoinSet::new();
    for _ in 0..3 {
        let mut receiver = cell.join().await;
        members.spawn(async move { take(&mut receiver, PUBLISHERS * EACH).await });
    }
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let cell = cell.clone();
        publishers.spawn(async move {
            for index in (0..EACH).step_by(2) {
                let texts = [index, index + 1].map(|index| format!("{publisher}-{index}"));
                publish(&*cell, &texts.each_ref().map(String::as_str)).await;
                tokio::task::yield_now().await;
            }
        });
    }
    publishers.join_all().await;
    members.join_all().await
}

async fn every_member_gets_every_message_in_each_senders_order<C: Cell>() {
    for heard in heard_by_all::<C>().await {
        let mut next = [0; PUBLISHERS];
        for message in &heard {
            let (publisher, index) = message.split_once('-').unwrap();
            let next = &mut next[publisher.parse::<usize>().unwrap()];
            assert_eq!(index, next.to_string(), "each sender's own order");
            *next += 1;
        }
        assert_eq!(next, [EACH; PUBLISHERS]);
    }
}

async fn all_members_get_the_same_order<C: Cell>() {
    let heard = heard_by_all::<C>().await;
    assert!(
        heard.iter().all(|messages| messages == &heard[0]),
        "one order for everybody"
    );
}

async fn nobody_gets_what_was_published_before_it_came<C: Cell>() {
    let cell = C::open(WIDE);
    let mut first = cell.join().await;
    publish(&*cell, &["a"]).await;
    assert_eq!(take(&mut first, 1).await, ["a"]);
    let mut second = cell.join().await;
    publish(&*cell, &["b"]).await;
    assert_eq!(take(&mut second, 1).await, ["b"]);
    assert_eq!(take(&mut first, 1).await, ["b"]);
}

async fn those_who_stay_lose_nothing_by_those_who_leave<C: Cell>() {
    let cell = C::open(WIDE);
    let mut stays = cell.join().await;
    for round in 0..200 {
        let visits = [cell.join().await, cell.join().await];
        let text = round.to_string();
        publish(&*cell, &[&text]).await;
        drop(visits);
        assert_eq!(take(&mut stays, 1).await, [text]);
    }
    assert_eq!(cell.members().await, 1, "who leaves is gone");
}

async fn who_falls_behind_is_told_and_the_others_lose_nothing<C: Cell>() {
    let cell = C::open(LagLimit {
        bytes: 1 << 20,
        messages: 64,
    });
    let mut healthy = cell.join().await;
    let mut stalled = cell.join().await;
    for index in 0..300 {
        let text = index.to_string();
        publish(&*cell, &[&text]).await;
        assert_eq!(take(&mut healthy, 1).await, [text]);
    }
    let mut sink = Recording::default();
    let told = async { while stalled.drain(&mut sink).await.is_ok() {} };
    timeout(Duration::from_secs(10), told)
        .await
        .expect("it is never told");
    assert!(messages(&sink.0).len() <= 64, "no more than its limit");
}

macro_rules! cell {
    ($module:ident, $cell:ty: $($promise:ident),* $(,)?) => {
        mod $module {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise::<$cell>().await;
            })*
        }
    };
    ($module:ident, $cell:ty) => {
        cell!($module, $cell:
            every_member_gets_every_message_in_each_senders_order,
            all_members_get_the_same_order,
            nobody_gets_what_was_published_before_it_came,
            those_who_stay_lose_nothing_by_those_who_leave,
            who_falls_behind_is_told_and_the_others_lose_nothing,
        );
    };
    // Two members may get what two senders publish in two orders.
    ($module:ident, $cell:ty, no order) => {
        cell!($module, $cell:
            every_member_gets_every_message_in_each_senders_order,
            nobody_gets_what_was_published_before_it_came,
            those_who_stay_lose_nothing_by_those_who_leave,
            who_falls_behind_is_told_and_the_others_lose_nothing,
        );
    };
}

/// A lock of each kind around the members' mailboxes, with an order mutex.
type Locked<D> = Pushed<RwLocked<<D as Delivery>::Mailbox>, D, true>;
type Unordered<D> = Pushed<RwLocked<<D as Delivery>::Mailbox>, D, false>;
type Mailbox = <Copied as Delivery>::Mailbox;

cell!(lock_feed, FeedCell<Registry>);
cell!(hub_feed, FeedCell<Hub>);
cell!(single_hub_feed, FeedCell<SingleHub>);
cell!(lock_copied, Locked<Copied>);
cell!(lock_shared_bytes, Locked<SharedBytes>);
cell!(lock_write_pump, Locked<WritePump>);
cell!(lock_drained_mpsc, Locked<Drained>);
cell!(no_order_copied, Unordered<Copied>, no order);
cell!(no_order_shared_bytes, Unordered<SharedBytes>, no order);
cell!(no_order_write_pump, Unordered<WritePump>, no order);
cell!(no_order_drained_mpsc, Unordered<Drained>, no order);
cell!(hub_copied, PushHub<Copied>);
cell!(hub_shared_bytes, PushHub<SharedBytes>);
cell!(hub_write_pump, PushHub<WritePump>);
cell!(hub_drained_mpsc, PushHub<Drained>);
cell!(mutex_copied, Pushed<Mutexed<Mailbox>, Copied, true>);
cell!(
    std_rw_lock_copied,
    Pushed<StdRwLocked<Mailbox>, Copied, true>
);
cell!(snapshot_copied, Pushed<Snapshot<Mailbox>, Copied, true>);
cell!(sharded_copied, Pushed<Sharded<Mailbox>, Copied, true>);
cell!(broadcast_pump, BroadcastPump);
cell!(broadcast_drained, BroadcastDrained);

/// A cell in which every seventh batch loses its end, or is turned round.
struct Faulty<C, const LOSES: bool> {
    cell: Arc<C>,
    count: AtomicUsize,
}

impl<C: Cell, const LOSES: bool> Cell for Faulty<C, LOSES> {
    type Receiver = C::Receiver;

    fn open(lag: LagLimit) -> Arc<Self> {
        Arc::new(Self {
            cell: C::open(lag),
            count: AtomicUsize::new(0),
        })
    }

    async fn join(self: &Arc<Self>) -> Self::Receiver {
        self.cell.join().await
    }

    async fn publish(&self, batch: &mut Vec<Publication>) {
        match self.count.fetch_add(1, Ordering::Relaxed) % 7 {
            5 if LOSES => batch.truncate(1),
            5 => batch.reverse(),
            _ => {}
        }
        self.cell.publish(batch).await;
    }

    async fn members(&self) -> usize {
        self.cell.members().await
    }
}

/// Two cells of which every second member is in the other one, with no order across them.
struct Torn<C> {
    cells: [Arc<C>; 2],
    joins: AtomicUsize,
}

impl<C: Cell> Cell for Torn<C> {
    type Receiver = C::Receiver;

    fn open(lag: LagLimit) -> Arc<Self> {
        Arc::new(Self {
            cells: [C::open(lag), C::open(lag)],
            joins: AtomicUsize::new(0),
        })
    }

    async fn join(self: &Arc<Self>) -> Self::Receiver {
        let join = self.joins.fetch_add(1, Ordering::Relaxed);
        self.cells[join % 2].join().await
    }

    async fn publish(&self, batch: &mut Vec<Publication>) {
        self.cells[0].publish(&mut batch.clone()).await;
        tokio::task::yield_now().await;
        if batch[0].payload.len() > 3 {
            // The later ones take longer, and are overtaken.
            tokio::task::yield_now().await;
        }
        self.cells[1].publish(batch).await;
    }

    async fn members(&self) -> usize {
        self.cells[0].members().await + self.cells[1].members().await
    }
}

#[tokio::test]
#[should_panic(expected = "one order for everybody")]
async fn a_cell_of_two_orders_is_found_out() {
    all_members_get_the_same_order::<Torn<Locked<Copied>>>().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "nothing comes")]
async fn a_cell_that_loses_is_waited_for_in_vain() {
    every_member_gets_every_message_in_each_senders_order::<Faulty<Locked<Copied>, true>>().await;
}

#[tokio::test]
#[should_panic(expected = "each sender's own order")]
async fn a_cell_that_reorders_is_found_out() {
    every_member_gets_every_message_in_each_senders_order::<Faulty<Locked<Copied>, false>>().await;
}
