//! What a delivery costs with nobody in the way: one publisher, 1 to 10,000 members, three sizes.
//!
//! An element is a delivery. The clock stops when every member has written everything. Sixteen
//! messages are in flight, so members can take several at once, as they do under load.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails may say so by panicking"
)]

mod support;

use criterion::{criterion_group, criterion_main};
use slabcast::fanout::{Fanout, Hub, Registry, engine::Client};
use support::{
    cell::FeedCell,
    coordination::{Mutexed, OneMutex, Ordered, Sharded, SingleHub, Snapshot, StdRwLocked},
    criterion::{BenchmarkId, Criterion, Throughput, criterion, is_quick, sizes},
    load::{self, Arena, Shape},
};

fn engine<F: Fanout>(criterion: &mut Criterion, members: usize, payload_bytes: usize) {
    let shape = Shape {
        rooms: 1,
        members,
        publishers: 1,
        window: 16,
        payload_bytes,
    };
    let runtime = load::runtime();
    let arena = runtime.block_on(Arena::<FeedCell<F>>::open(shape));
    let mut group = criterion.benchmark_group("fan_out");
    group.throughput(Throughput::Elements(shape.deliveries_per_round()));
    let size = format!("{members}x{payload_bytes}B");
    group.bench_function(BenchmarkId::new(F::NAME, size), |bencher| {
        bencher.iter_custom(|rounds| runtime.block_on(arena.lap(rounds)).wall);
    });
}

fn fan_out(criterion: &mut Criterion) {
    for members in sizes(&[1, 10, 100, 1_000, 10_000], &[1, 100, 10_000]) {
        for payload_bytes in sizes(&[64, 1_024, 16_384], &[64, 16_384]) {
            engine::<Registry>(criterion, members, payload_bytes);
            engine::<Hub>(criterion, members, payload_bytes);
            if is_quick() {
                continue;
            }
            engine::<SingleHub>(criterion, members, payload_bytes);
            engine::<OneMutex>(criterion, members, payload_bytes);
            engine::<Ordered<Mutexed<Client>>>(criterion, members, payload_bytes);
            engine::<Ordered<StdRwLocked<Client>>>(criterion, members, payload_bytes);
            engine::<Ordered<Snapshot<Client>>>(criterion, members, payload_bytes);
            engine::<Ordered<Sharded<Client>>>(criterion, members, payload_bytes);
        }
    }
}

criterion_group!(name = benches; config = criterion(); targets = fan_out);
criterion_main!(benches);
