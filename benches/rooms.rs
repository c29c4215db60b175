//! What a room costs that is made, left or used again, beside 100,000 rooms that nobody is in and that
//! their histories keep.
//!
//! `new/below` publishes to a name that nobody has used, while further rooms may be; `new/at` the same
//! when there are as many as may be, so that another makes way each time. The server that fills its
//! limit pays the difference. `again` publishes in a room that is there, each in its turn, and `visit`
//! comes and goes in one.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails may say so by panicking"
)]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{criterion_group, criterion_main};
use slabcast::{
    config::Config,
    fanout::{CatchUp, Fanout, Hub, Newcomer, Registry},
    id::{RoomName, UserId},
    node::{Node, Tongue},
    outbox::Outbox,
    publication::{ClientInfo, PayloadKind, Publication},
};
use support::{
    criterion::{BenchmarkId, Criterion, criterion},
    load,
};
use tokio::runtime::Runtime;

const ROOMS: usize = 100_000;

fn name(kind: &str, number: usize) -> RoomName {
    RoomName::parse(&format!("{kind} {number}")).unwrap()
}

async fn publish<F: Fanout>(node: &Node<F>, room: &RoomName) {
    let publication = Publication::new(PayloadKind::Text, Bytes::from_static(b"hello"));
    let receipt = node.publish(room, &mut vec![publication]).await.unwrap();
    assert_eq!(receipt.members, 0, "nobody is there");
}

async fn visit<F: Fanout>(node: &Arc<Node<F>>, room: &RoomName, info: &Arc<ClientInfo>) {
    let mut outbox = Outbox::new(Arc::default(), node.deliveries().clone());
    let newcomer = Newcomer {
        info: info.clone(),
        dialect: Tongue::Plain.dialect(),
        seat: outbox.vacant_seat(),
    };
    let visiting = node.subscribe(room, newcomer, CatchUp::Nothing);
    let (subscription, admission) = visiting.await.unwrap();
    drop(admission);
    drop(subscription);
}

/// A node that may have `rooms_max` rooms, and has [`ROOMS`].
fn node<F: Fanout>(runtime: &Runtime, rooms_max: usize) -> Arc<Node<F>> {
    let mut config = Config::default();
    config.limits.rooms = rooms_max;
    let node = Node::new(config).unwrap();
    runtime.block_on(async {
        for number in 0..ROOMS {
            publish(&node, &name("old", number)).await;
        }
    });
    node
}

/// How long `count` publications take, each to a name that nobody has used.
fn publish_to_new<F: Fanout>(runtime: &Runtime, rooms_max: usize, count: u64) -> Duration {
    let mut took = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        // What is below the limit has to end somewhere.
        let some = left.min(ROOMS as u64);
        let node = node::<F>(runtime, rooms_max);
        let start = Instant::now();
        runtime.block_on(async {
            for number in 0..some {
                publish(&node, &name("new", number as usize)).await;
            }
        });
        took += start.elapsed();
        let status = runtime.block_on(node.status(0));
        let made = if rooms_max == ROOMS { 0 } else { some as usize };
        assert_eq!(status.num_rooms, ROOMS + made);
        left -= some;
    }
    took
}

fn engine<F: Fanout>(criterion: &mut Criterion) {
    let runtime = load::runtime();
    let mut group = criterion.benchmark_group("rooms");
    let id = |what| BenchmarkId::new(what, F::NAME);
    for (what, rooms_max) in [("new/below", 2 * ROOMS), ("new/at", ROOMS)] {
        group.bench_function(id(what), |bencher| {
            bencher.iter_custom(|count| publish_to_new::<F>(&runtime, rooms_max, count));
        });
    }

    let node = node::<F>(&runtime, ROOMS);
    let rooms: Vec<_> = (0..ROOMS).map(|number| name("old", number)).collect();
    let mut turns = rooms.iter().cycle();
    group.bench_function(id("again"), |bencher| {
        bencher.iter(|| runtime.block_on(publish(&node, turns.next().unwrap())));
    });
    let info = Arc::new(ClientInfo {
        client: "visitor".into(),
        user: UserId::parse("visitor").unwrap(),
        encoded: Box::default(),
    });
    group.bench_function(id("visit"), |bencher| {
        bencher.iter(|| runtime.block_on(visit(&node, turns.next().unwrap(), &info)));
    });
    group.finish();
}

fn rooms(criterion: &mut Criterion) {
    engine::<Registry>(criterion);
    engine::<Hub>(criterion);
}

criterion_group!(name = benches; config = criterion(); targets = rooms);
criterion_main!(benches);
