//! What members that take nothing cost the others: 100 members, of which some are stalled.
//!
//! An element is a delivery to one that is not. Stalled members have the default limits before them,
//! and all deliveries keep to them: the feed lets go of what is too old, an outbox refuses.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails may say so by panicking"
)]

mod support;

use std::time::Instant;

use criterion::{criterion_group, criterion_main};
use slabcast::{
    fanout::{Hub, Registry},
    feed::LagLimit,
};
use support::{
    cell::{Cell, FeedCell, Pushed, Receiver as _},
    coordination::RwLocked,
    criterion::{BenchmarkId, Criterion, Throughput, criterion, sizes},
    delivery::{Copied, Delivery, Drained, SharedBytes},
    load,
    sink::NullSink,
};

const MEMBERS: usize = 100;

const LAG: LagLimit = LagLimit {
    bytes: 1 << 20,
    messages: 4_096,
};

/// Messages that are published before those who can take them.
const BATCH: u64 = 16;

fn cell<C: Cell>(criterion: &mut Criterion, name: &str, stalled: usize) {
    let runtime = load::runtime();
    // A hub is a task of this runtime.
    let _inside = runtime.enter();
    let cell = C::open(LAG);
    let join = || runtime.block_on(cell.join());
    let _stalled: Vec<_> = (0..stalled).map(|_| join()).collect();
    let mut healthy: Vec<_> = (stalled..MEMBERS).map(|_| join()).collect();
    let publication = load::publication(64);
    let mut sink = NullSink::default();
    let mut lap = async |messages: u64| {
        for _ in 0..messages {
            let mut batch = vec![publication.clone(); BATCH as usize];
            cell.publish(&mut batch).await;
            for receiver in &mut healthy {
                let mut had = 0;
                while had < BATCH {
                    had += receiver
                        .drain(&mut sink)
                        .await
                        .expect("it takes everything");
                }
                assert_eq!(had, BATCH);
            }
        }
    };
    // They are at their limit from the beginning.
    runtime.block_on(lap(LAG.messages as u64 / BATCH + 1));
    let mut group = criterion.benchmark_group("slow_consumer");
    group.throughput(Throughput::Elements((MEMBERS - stalled) as u64 * BATCH));
    let id = BenchmarkId::new(name, format!("{stalled}of{MEMBERS}"));
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|messages| {
            let start = Instant::now();
            runtime.block_on(lap(messages));
            start.elapsed()
        });
    });
}

fn slow_consumer(criterion: &mut Criterion) {
    type Locked<D> = Pushed<RwLocked<<D as Delivery>::Mailbox>, D, true>;
    for stalled in sizes(&[0, 1, 10, 50, 90], &[0, 50]) {
        cell::<FeedCell<Registry>>(criterion, "lock", stalled);
        cell::<FeedCell<Hub>>(criterion, "hub", stalled);
        cell::<Locked<Copied>>(criterion, "copied", stalled);
        cell::<Locked<SharedBytes>>(criterion, "shared_bytes", stalled);
        cell::<Locked<Drained>>(criterion, "drained_mpsc", stalled);
    }
}

criterion_group!(name = benches; config = criterion(); targets = slow_consumer);
criterion_main!(benches);
