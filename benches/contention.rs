//! What senders cost each other: 1 to 16 threads that publish into one room, or into a room each.
//!
//! An element is a delivery; 32 members in all drain beside them. Threads outnumber the processors, so
//! a holder of a lock can be put to sleep: that is what is looked for.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails may say so by panicking"
)]

mod support;

use std::time::Duration;

use criterion::{criterion_group, criterion_main};
use slabcast::fanout::{Hub, Registry, engine::Client};
use support::{
    cell::{Cell, FeedCell, Pushed},
    coordination::{
        Mutexed, OneMutex, Ordered, RwLocked, Sharded, SingleHub, Snapshot, StdRwLocked,
    },
    criterion::{BenchmarkId, Criterion, Throughput, criterion, is_quick, sizes},
    delivery::{Copied, Delivery},
    load::{self, Arena, Shape},
    senders::Senders,
};

const MEMBERS: usize = 32;

/// Messages in a burst, all senders together. After it members catch up; ten times as much would be a
/// bench of memory.
const BURST: u64 = 4_096;

#[derive(Clone, Copy)]
enum Rooms {
    One,
    Each,
}

fn cell<C: Cell>(criterion: &mut Criterion, name: &str, senders: usize, rooms: Rooms) {
    let (id, rooms) = match rooms {
        Rooms::One => ("one_room", 1),
        Rooms::Each => ("a_room_each", senders),
    };
    let shape = Shape {
        rooms,
        members: MEMBERS / rooms,
        publishers: 0,
        window: 0,
        payload_bytes: 64,
    };
    let runtime = load::runtime();
    let arena = runtime.block_on(Arena::<C>::open(shape));
    let cells: Vec<_> = arena.cells().into_iter().cycle().take(senders).collect();
    let threads = Senders::start(runtime.handle(), &cells, shape.payload_bytes);
    let per_room = (senders / rooms) as u64;
    let mut group = criterion.benchmark_group("contention");
    // Each iteration is one message of each sender.
    group.throughput(Throughput::Elements((senders * shape.members) as u64));
    group.bench_function(
        BenchmarkId::new(format!("{id}/{name}"), senders),
        |bencher| {
            bencher.iter_custom(|messages| {
                let most = (BURST / senders as u64).max(1);
                let mut left = messages;
                let mut wall = Duration::ZERO;
                while left > 0 {
                    let burst = left.min(most);
                    left -= burst;
                    let lap = arena.burst(burst * per_room, || threads.burst(burst));
                    wall += runtime.block_on(lap).wall;
                }
                wall
            });
        },
    );
}

fn contention(criterion: &mut Criterion) {
    type Mailbox = <Copied as Delivery>::Mailbox;
    for senders in sizes(&[1, 2, 4, 8, 16], &[1, 16]) {
        for rooms in [Rooms::One, Rooms::Each] {
            cell::<FeedCell<Registry>>(criterion, "lock", senders, rooms);
            cell::<FeedCell<Hub>>(criterion, "hub", senders, rooms);
            cell::<FeedCell<SingleHub>>(criterion, "single_hub", senders, rooms);
            if is_quick() {
                continue;
            }
            cell::<FeedCell<OneMutex>>(criterion, "one_mutex", senders, rooms);
            cell::<FeedCell<Ordered<Mutexed<Client>>>>(criterion, "mutex", senders, rooms);
            cell::<FeedCell<Ordered<StdRwLocked<Client>>>>(
                criterion,
                "std_rw_lock",
                senders,
                rooms,
            );
            cell::<FeedCell<Ordered<Snapshot<Client>>>>(criterion, "snapshot", senders, rooms);
            cell::<FeedCell<Ordered<Sharded<Client>>>>(criterion, "sharded", senders, rooms);
            // What order costs where every member is handed its own.
            cell::<Pushed<RwLocked<Mailbox>, Copied, true>>(criterion, "copied", senders, rooms);
            cell::<Pushed<RwLocked<Mailbox>, Copied, false>>(
                criterion,
                "copied_no_order",
                senders,
                rooms,
            );
        }
    }
}

criterion_group!(name = benches; config = criterion(); targets = contention);
criterion_main!(benches);
