//! What an engine does when there is little left of the budget that all feeds share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BufMut as _;
use slabcast::{
    fanout::{Fanout, Pace},
    feed::{Feed, FeedBudget, LagLimit},
    outbox::{Lag, SkipTo},
};

use crate::members::{Member, QUIET, Room, batch};

const KIB: usize = 1024;
const BUDGET: usize = 256 * KIB;
const SECOND: Duration = Duration::from_secs(1);

/// Rooms whose lag limits are far more than their budget together.
fn rooms<F: Fanout>(count: usize) -> (Arc<FeedBudget>, Vec<Room<F>>) {
    let budget = Arc::new(FeedBudget::new(BUDGET));
    let open = || {
        Room::within(budget.clone(), |config| {
            config.lag_bytes = BUDGET;
            config.lag_messages = 1 << 20;
            config.history_size = 0;
        })
    };
    let rooms = (0..count).map(|_| open()).collect();
    (budget, rooms)
}

/// A member that has begun to read, and can't go on.
async fn stalled<F: Fanout>(room: &Room<F>) -> Member<F> {
    let mut member = room.join("stalled", QUIET).await;
    room.publish("first").await;
    assert_eq!(member.take(3), Ok(3));
    member.outbox.set_stalled(true);
    member
}

pub(crate) async fn rooms_that_are_relieved_share_a_budget_and_whoever_reads_has_everything<
    F: Fanout,
>() {
    const ROOMS: usize = 10;
    const SAID: usize = 200;
    let (budget, rooms) = rooms::<F>(ROOMS);
    let (mut readers, mut slow) = (Vec::new(), Vec::new());
    for room in &rooms {
        slow.push(stalled(room).await);
        readers.push(room.join("reader", QUIET).await);
    }
    let text = "x".repeat(KIB);
    let mut most = 0;
    for _ in 0..SAID {
        for (room, reader) in rooms.iter().zip(&mut readers) {
            room.publish(&text).await;
            most = most.max(budget.used_bytes());
            if budget.is_short() {
                // Before the reader has run: nothing is taken from it.
                room.engine.relieve(Duration::ZERO, Instant::now()).await;
            }
            reader.take(usize::MAX).unwrap();
            let used = budget.used_bytes();
            assert!(used <= BUDGET, "{used}");
        }
    }
    assert!(most > BUDGET / 4 * 3, "and make use of it");
    for ((room, reader), slow) in rooms.iter().zip(readers).zip(&mut slow) {
        assert_eq!(reader.lines().len(), SAID);
        assert_eq!(slow.take(usize::MAX), Err(Lag { key: slow.key }));
        assert!(slow.outbox.skip(slow.key, SkipTo::Oldest) > 0);
        slow.take(usize::MAX).unwrap();
        room.assert_accounts_balance().await;
    }
}

pub(crate) async fn whose_frames_are_let_go_of_is_told_where_nothing_is_published<F: Fanout>() {
    let (budget, rooms) = rooms::<F>(1);
    let room = &rooms[0];
    let mut slow = stalled(room).await;
    let mut reader = room.join("reader", QUIET).await;
    for _ in 0..10 {
        room.publish("x").await;
        reader.take(usize::MAX).unwrap();
    }
    room.engine.relieve(SECOND, Instant::now()).await;
    slow.take(0).expect("it has only begun to take nothing");
    room.engine.relieve(SECOND, Instant::now() + SECOND).await;
    slow.rung().await;
    assert_eq!(slow.write(usize::MAX), Err(Lag { key: slow.key }));
    assert_eq!(room.engine.status().await.feed_bytes, 0);
    assert_eq!(budget.used_bytes(), 0);
    assert_eq!(reader.take(usize::MAX), Ok(0), "it had everything");
    slow.leave();
    slow.take(usize::MAX).unwrap();
    assert_eq!(slow.lines(), ["0:first"], "what was begun is finished");
    room.assert_accounts_balance().await;
}

pub(crate) async fn who_takes_something_now_and_then_is_not_relieved_of_the_rest<F: Fanout>() {
    let (_, rooms) = rooms::<F>(1);
    let room = &rooms[0];
    let mut slow = stalled(room).await;
    for _ in 0..10 {
        room.publish("x").await;
    }
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(2) {
        tokio::task::yield_now().await;
    }
    slow.outbox.set_stalled(false);
    slow.take(1).unwrap();
    slow.outbox.set_stalled(true);
    room.engine.relieve(SECOND, since + SECOND).await;
    slow.take(usize::MAX).unwrap();
    assert_eq!(slow.lines().len(), 11);
    room.assert_accounts_balance().await;
}

pub(crate) async fn while_there_is_little_left_publishers_wait_for_whoever_has_anything_to_read<
    F: Fanout,
>() {
    const AT_ONCE: Pace = Pace::WithinReach {
        waited: Duration::ZERO,
    };
    let (budget, rooms) = rooms::<F>(1);
    let room = &rooms[0];
    let mut reader = room.join("reader", QUIET).await;
    let publish = async |text| {
        let mut batch = batch(&[text]);
        room.engine.publish(&mut batch, AT_ONCE).await.unwrap();
        batch.is_empty()
    };
    assert!(publish("a").await);
    assert!(publish("b").await, "it has far less than its lag limit");
    let elsewhere = [BUDGET / 5 * 4, BUDGET / 5].map(|bytes| {
        let lag = LagLimit { bytes, messages: 1 };
        (Feed::within(lag, budget.clone()), bytes)
    });
    let fill = |(feed, bytes): &(Feed, usize)| {
        feed.append().frame(|out| out.put_bytes(b'x', *bytes));
    };
    fill(&elsewhere[0]);
    assert!(!publish("c").await);
    reader.take(usize::MAX).unwrap();
    // The first finds out that the reader has run.
    publish("c").await;
    reader.take(usize::MAX).unwrap();
    assert!(publish("d").await);
    let _stalled = stalled(room).await;
    assert_eq!(reader.take_lines().last().unwrap(), "0:first");
    let goes = publish("e").await || publish("e").await;
    assert!(goes, "nobody waits for it");
    reader.take(usize::MAX).unwrap();
    publish("f").await;
    reader.take(usize::MAX).unwrap();
    fill(&elsewhere[1]);
    assert!(!publish("g").await, "there is no memory for it");
    let waited = Duration::from_millis(999);
    let mut late = batch(&["late"]);
    let later = Pace::WithinReach { waited };
    room.engine.publish(&mut late, later).await.unwrap();
    assert_eq!(late.len(), 1, "whatever the reader has read");
    elsewhere[1].0.clear();
    assert!(publish("g").await);
}
