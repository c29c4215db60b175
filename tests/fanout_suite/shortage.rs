//! What an engine does when there is little left of the budget that all feeds share.

use std::{sync::Arc, time::Instant};

use bytes::BufMut as _;
use slabcast::{
    fanout::Fanout,
    feed::{Feed, FeedBudget, LagLimit},
    outbox::{Lag, SkipTo},
};

use crate::members::{Member, QUIET, Room};

const KIB: usize = 1024;
const BUDGET: usize = 256 * KIB;

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

pub(crate) async fn rooms_that_share_a_budget_stay_within_it_and_whoever_reads_has_everything<
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
    for _ in 0..SAID {
        for (room, reader) in rooms.iter().zip(&mut readers) {
            room.publish(&text).await;
            // Before it has run, nothing is taken from it.
            room.engine.tidy(Instant::now()).await;
            reader.take(usize::MAX).unwrap();
            let used = budget.used_bytes();
            assert!(used <= BUDGET + ROOMS * 2 * KIB, "{used}");
        }
    }
    assert!(budget.used_bytes() > BUDGET / 2, "and make use of it");
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
    let text = "x".repeat(KIB);
    for _ in 0..100 {
        room.publish(&text).await;
        reader.take(usize::MAX).unwrap();
    }
    slow.take(0).expect("it is within its limit");
    assert!(!budget.is_short());
    let elsewhere = Feed::within(
        LagLimit {
            bytes: BUDGET,
            messages: 1,
        },
        budget.clone(),
    );
    elsewhere.append().frame(|out| out.put_bytes(b'x', BUDGET));
    room.engine.tidy(Instant::now()).await;
    slow.rung().await;
    assert_eq!(slow.write(usize::MAX), Err(Lag { key: slow.key }));
    assert_eq!(room.engine.status().await.feed_bytes, 0);
    assert_eq!(reader.take(usize::MAX), Ok(0), "it had everything");
    slow.leave();
    slow.take(usize::MAX).unwrap();
    assert_eq!(slow.lines(), ["0:first"], "what was begun is finished");
    room.assert_accounts_balance().await;
}
