//! What a join waits while others publish, and what a publish waits while others come and go.
//!
//! A join is one coming and going. Both are timed in a thread of their own, beside another that does
//! the other thing as fast as it can; `alone` is the same without it.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails may say so by panicking"
)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use criterion::{criterion_group, criterion_main};
use slabcast::{
    fanout::{Fanout, Hub, Pace, Registry, engine::Client},
    feed::LagLimit,
};
use support::{
    cell::{Cell, FeedCell},
    coordination::{Mutexed, OneMutex, Ordered, Sharded, SingleHub, Snapshot, StdRwLocked},
    criterion::{BenchmarkId, Criterion, criterion, is_quick, sizes},
    load,
};
use tokio::runtime::Runtime;

/// The default limit: members who don't drain lag, which costs the others nothing, and is all that a
/// publish does to them here.
const LAG: LagLimit = LagLimit {
    bytes: 1 << 20,
    messages: 4_096,
};

/// Runs `beside` again and again in a thread, while `timed` is measured.
fn beside<R>(is_alone: bool, beside: impl Fn() + Send + Sync, timed: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(is_alone);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                beside();
            }
        });
        let result = timed();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn publish<F: Fanout>(runtime: &Runtime, cell: &FeedCell<F>) {
    let mut batch = vec![load::publication(64)];
    let published = cell.engine().publish(&mut batch, Pace::Now);
    let receipt = runtime.handle().block_on(published).unwrap();
    assert!(receipt.members > 0, "somebody is there");
}

fn join_and_leave<F: Fanout>(runtime: &Runtime, cell: &Arc<FeedCell<F>>) {
    drop(runtime.handle().block_on(cell.join()));
}

fn engine<F: Fanout>(criterion: &mut Criterion, members: usize, is_alone: bool) {
    let runtime = load::runtime();
    // A hub is a task of this runtime.
    let _inside = runtime.enter();
    let cell = FeedCell::<F>::open(LAG);
    let _members: Vec<_> = (0..members)
        .map(|_| runtime.block_on(cell.join()))
        .collect();
    let beside_what = if is_alone { "alone" } else { "beside" };
    let mut group = criterion.benchmark_group("churn");
    let id = |what| BenchmarkId::new(format!("{what}/{beside_what}/{}", F::NAME), members);
    group.bench_function(id("join"), |bencher| {
        bencher.iter_custom(|count| {
            let publish = || publish(&runtime, &cell);
            beside(is_alone, publish, || {
                let start = Instant::now();
                (0..count).for_each(|_| join_and_leave(&runtime, &cell));
                start.elapsed()
            })
        });
    });
    group.bench_function(id("publish"), |bencher| {
        bencher.iter_custom(|count| {
            let churn = || join_and_leave(&runtime, &cell);
            beside(is_alone, churn, || {
                let start = Instant::now();
                (0..count).for_each(|_| publish(&runtime, &cell));
                start.elapsed()
            })
        });
    });
    let status = runtime.block_on(cell.engine().status());
    assert_eq!(status.clients, members, "who came has left");
}

fn churn(criterion: &mut Criterion) {
    for members in sizes(&[10, 1_000, 10_000], &[1_000]) {
        for is_alone in [true, false] {
            engine::<Registry>(criterion, members, is_alone);
            engine::<Hub>(criterion, members, is_alone);
            engine::<Ordered<Snapshot<Client>>>(criterion, members, is_alone);
            if is_quick() {
                continue;
            }
            engine::<SingleHub>(criterion, members, is_alone);
            engine::<OneMutex>(criterion, members, is_alone);
            engine::<Ordered<Mutexed<Client>>>(criterion, members, is_alone);
            engine::<Ordered<StdRwLocked<Client>>>(criterion, members, is_alone);
            engine::<Ordered<Sharded<Client>>>(criterion, members, is_alone);
        }
    }
}

criterion_group!(name = benches; config = criterion(); targets = churn);
criterion_main!(benches);
