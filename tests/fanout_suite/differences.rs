//! Where the engines differ, each difference by name: waiting, what a leave waits for, and what a task
//! that can be given up on owes to those who do.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::{BufMut as _, BytesMut};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use slabcast::{
    close::CloseReason,
    config::RoomConfig,
    fanout::{CatchUp, Dialect, Encode, Event, Fanout, Hub, Pace, Registry, Retired, RoomSetup},
    feed::FeedBudget,
    history::HistoryBudget,
    metrics::Deliveries,
    notifier::{Notifier, Summons},
    outbox::Outbox,
};
use tokio::task::JoinSet;

use crate::members::{CURIOUS, Member, PATIENT, QUIET, Room, newcomer, publication};

/// The first step of `future`, which is then given up. Its task's share of time is no reason to wait.
fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    let future = pin!(tokio::task::unconstrained(future));
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What `member` has heard of by now, without waiting.
fn heard<F: Fanout>(member: &mut Member<F>) -> usize {
    member.take_lines().len()
}

#[tokio::test]
async fn the_lock_never_makes_a_publisher_wait() {
    let room = Room::<Registry>::open(|_| ());
    let _reads_nothing = room.join("m", QUIET).await;
    for _ in 0..10_000 {
        let mut batch = vec![publication("x")];
        assert!(poll_once(room.engine.publish(&mut batch, Pace::Now)).is_ready());
    }
}

#[tokio::test]
async fn the_hub_makes_publishers_wait_once_its_commands_are_full() {
    const PLACES: u64 = 256;
    let room = Room::<Hub>::open(|_| ());
    // Its task does not run before this one waits for something.
    for index in 0..PLACES + 50 {
        let mut batch = vec![publication("x")];
        let published = poll_once(room.engine.publish(&mut batch, Pace::Now));
        assert!(published.is_pending(), "not before the task has answered");
        assert_eq!(
            batch.len(),
            usize::from(index >= PLACES),
            "number {index}: what had no place is still its publisher's"
        );
    }
    assert_eq!(room.engine.status().await.offset, PLACES);
}

#[tokio::test]
async fn a_leave_is_told_at_once_by_the_lock_and_with_its_next_turn_by_the_hub() {
    async fn told_at_once<F: Fanout>() -> bool {
        let room = Room::<F>::open(|_| ());
        let mut curious = room.join("curious", CURIOUS).await;
        let leaver = room.join("leaver", QUIET).await;
        assert_eq!(heard(&mut curious), 2);
        drop(leaver);
        let is_told = heard(&mut curious) == 3;
        if !is_told {
            // By the leave alone, without anything else that is asked of the room.
            curious.told().await;
        }
        // Whatever is asked of the room afterwards comes after the leave.
        assert_eq!(room.engine.presence().await.len(), 1);
        assert_eq!(curious.take_lines().last().unwrap(), "-leaver");
        is_told
    }
    assert!(told_at_once::<Registry>().await);
    assert!(!told_at_once::<Hub>().await);
}

#[tokio::test]
async fn publishers_that_reach_a_hub_together_leave_its_members_within_reach() {
    let room = Room::<Hub>::open(|config| config.lag_messages = 800);
    let mut member = room.join("m", QUIET).await;
    let mut batches = vec![vec![publication("x"); 90]; 100];
    let mut publishing: FuturesUnordered<_> = batches
        .iter_mut()
        .map(|batch| room.engine.publish(batch, PATIENT))
        .collect();
    // All are handled in one turn of its task.
    while let Some(published) = publishing.next().await {
        published.unwrap();
    }
    drop(publishing);
    let taken = 9_000 - batches.iter().map(Vec::len).sum::<usize>();
    assert_eq!(heard(&mut member), taken, "it has not lagged");
    assert!(
        (300..=400).contains(&taken),
        "{taken} of the 800 it may lag"
    );
}

/// Publishers that come in the same order every time, as tasks of one thread do: by then, how much of
/// theirs all of them have published when the first is done.
async fn least_published_beside_others<F: Fanout>() -> usize {
    const PUBLISHERS: usize = 16;
    const EACH: usize = 20_000;
    let room = Arc::new(Room::<F>::open(|config| {
        config.lag_messages = 800;
        config.history_size = 0;
    }));
    let mut member = room.join("m", QUIET).await;
    let left: Arc<[AtomicUsize]> = (0..PUBLISHERS).map(|_| AtomicUsize::new(EACH)).collect();
    let mut publishers = JoinSet::new();
    for index in 0..PUBLISHERS {
        let (room, left) = (room.clone(), left.clone());
        publishers.spawn(async move {
            let mut batch = vec![publication("x"); EACH];
            let mut since = Instant::now();
            while !batch.is_empty() {
                let waited = since.elapsed();
                let published = room
                    .engine
                    .publish(&mut batch, Pace::WithinReach { waited });
                published.await.unwrap();
                if left[index].swap(batch.len(), Ordering::Relaxed) > batch.len() {
                    since = Instant::now();
                }
                tokio::task::yield_now().await;
            }
        });
    }
    while left.iter().all(|left| left.load(Ordering::Relaxed) > 0) {
        member.told().await;
    }
    let most_left = left.iter().map(|left| left.load(Ordering::Relaxed)).max();
    EACH - most_left.unwrap()
}

#[tokio::test]
async fn no_publisher_of_many_is_starved_by_those_who_come_before_it() {
    let by_lock = least_published_beside_others::<Registry>().await;
    let by_hub = least_published_beside_others::<Hub>().await;
    assert!(by_lock > 1_000 && by_hub > 1_000, "{by_lock}, {by_hub}");
}

#[tokio::test]
async fn leaves_reach_a_hub_whose_commands_are_full() {
    let room = Room::<Hub>::open(|_| ());
    let leaver = room.join("leaver", QUIET).await;
    for _ in 0..300 {
        let mut batch = vec![publication("x")];
        assert!(poll_once(room.engine.publish(&mut batch, Pace::Now)).is_pending());
    }
    drop(leaver);
    assert_eq!(room.engine.status().await.clients, 0);
    room.assert_accounts_balance().await;
}

#[tokio::test]
async fn whoever_gives_up_joining_a_hub_is_not_in_it_and_does_not_keep_it() {
    let room = Room::<Hub>::open(|config| config.history_size = 0);
    let mut outbox = Outbox::new(Arc::default(), room.deliveries.clone());
    let newcomer = newcomer("m", CURIOUS, &mut outbox);
    let joining = poll_once(room.engine.subscribe(newcomer, CatchUp::Nothing));
    assert!(joining.is_pending());
    assert!(
        !room.engine.retire_if_vacant(Instant::now()).is_retired(),
        "somebody is on the way in"
    );
    // It was let in, and let out again when nobody took the answer.
    room.engine.presence().await;
    assert_eq!(room.engine.status().await.clients, 0);
    assert!(room.engine.retire_if_vacant(Instant::now()).is_retired());
}

#[tokio::test]
async fn whoever_is_admitted_and_does_not_look_is_out_again() {
    let room = Room::<Hub>::open(|config| config.history_size = 0);
    let mut outbox = Outbox::new(Arc::default(), room.deliveries.clone());
    let newcomer = newcomer("m", CURIOUS, &mut outbox);
    let mut joining = Box::pin(room.engine.subscribe(newcomer, CatchUp::Nothing));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(joining.as_mut().poll(&mut cx).is_pending());
    // By now the answer is there.
    assert_eq!(room.engine.status().await.clients, 1);
    drop(joining);
    assert_eq!(room.engine.status().await.clients, 0);
    assert!(room.engine.retire_if_vacant(Instant::now()).is_retired());
}

#[tokio::test]
async fn who_has_left_a_hub_is_out_of_it_even_if_it_ends_at_once() {
    let room = Room::<Hub>::open(|config| config.history_size = 0);
    let mut member = room.join("m", QUIET).await;
    let notifier = member.notifier.clone();
    let Room { engine, deliveries } = room;
    // So many wait for a place that none is ever free, not even while no command is there.
    let mut batches: Vec<_> = (0..600).map(|_| vec![publication("x")]).collect();
    let mut publishing: Vec<_> = batches
        .iter_mut()
        .map(|batch| Box::pin(tokio::task::unconstrained(engine.publish(batch, Pace::Now))))
        .collect();
    let mut cx = Context::from_waker(Waker::noop());
    for one in &mut publishing {
        assert!(one.as_mut().poll(&mut cx).is_pending());
    }
    tokio::task::yield_now().await;
    member.leave();
    assert!(engine.retire_if_vacant(Instant::now()).is_retired());
    let polled = publishing.iter_mut().map(|one| one.as_mut().poll(&mut cx));
    let retired = polled.filter(|polled| matches!(polled, Poll::Ready(Err(Retired))));
    assert!(retired.count() > 0, "else this tests nothing");
    drop(publishing);
    drop((member, engine));
    tokio::task::yield_now().await;
    let polled = notifier.poll(&mut cx, &mut std::collections::VecDeque::new());
    assert!(
        !matches!(&polled, Poll::Ready(Summons { call: Some(call), .. }) if call.close.is_some()),
        "it had left: {polled:?}"
    );
    assert_eq!(deliveries.due.value(), deliveries.discarded.value());
}

/// An encoder with a bug.
#[derive(Debug)]
struct Bug;

impl Encode for Bug {
    fn dialects(&self) -> usize {
        1
    }

    fn encode(&self, _: Dialect, event: Event<'_>, out: &mut BytesMut) {
        match event {
            Event::Publication(publication, _) => {
                assert_ne!(&publication.payload[..], b"bug", "meant to be seen");
                out.put_slice(&publication.payload);
            }
            Event::Join(_) | Event::Leave(_) => out.put_slice(b"news"),
        }
    }
}

#[tokio::test]
async fn a_room_that_a_bug_has_broken_closes_its_members_and_counts_as_retired() {
    is_at_its_end_after_a_bug::<Registry>().await;
    is_at_its_end_after_a_bug::<Hub>().await;
}

async fn is_at_its_end_after_a_bug<F: Fanout>() {
    let engine = F::open(RoomSetup {
        config: RoomConfig {
            join_leave: true,
            ..RoomConfig::default()
        },
        encoder: Box::new(Bug),
        deliveries: Arc::new(Deliveries::default()),
        history_budget: Arc::new(HistoryBudget::new(1 << 20)),
        feed_budget: Arc::new(FeedBudget::unlimited()),
    });
    let notifier = Arc::new(Notifier::default());
    let mut outbox = Outbox::new(notifier.clone(), Arc::default());
    let first = newcomer("m", QUIET, &mut outbox);
    let second = newcomer("n", QUIET, &mut outbox);
    let first = engine.subscribe(first, CatchUp::Nothing).await.unwrap();
    let second = engine.subscribe(second, CatchUp::Nothing).await.unwrap();
    let publish = |text| {
        let engine = engine.clone();
        async move {
            let mut batch = vec![publication(text)];
            let published = engine.publish(&mut batch, Pace::Now).await;
            published.map(|_| batch.len()).map_err(|_| batch.len())
        }
    };
    assert_eq!(publish("fine").await, Ok(0));
    assert_eq!(
        publish("bug").await,
        Err(0),
        "it must not break the next room"
    );
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(summons) = notifier.poll(&mut cx, outbox.ready()) else {
        panic!("nobody told the member");
    };
    assert_eq!(
        summons.call.unwrap().close.unwrap().reason,
        CloseReason::Internal
    );
    assert_eq!(publish("fine").await, Err(1), "it may go to the next room");
    assert!(engine.retire_if_vacant(Instant::now()).is_retired());
    let end = second.feed.bounds().end;
    drop(first);
    // Whatever is asked of a hub, it has heard of the leave.
    engine.presence().await;
    assert_eq!(
        second.feed.bounds().end,
        end,
        "nobody is told of anything any more"
    );
    drop(second);
    assert_eq!(engine.presence().await.len(), 0);
}
