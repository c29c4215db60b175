//! The feed by itself: what an append costs, and what a read of so many frames.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails may say so by panicking"
)]

mod support;

use std::hint::black_box;

use bytes::BufMut as _;
use criterion::{criterion_group, criterion_main};
use slabcast::feed::{Feed, LagLimit};
use support::{
    criterion::{BenchmarkId, Criterion, Throughput, criterion, sizes},
    load,
};

const LAG: LagLimit = LagLimit {
    bytes: 1 << 20,
    messages: 4_096,
};

/// Appends `count` frames, of which everybody has had what came before.
fn append(feed: &Feed, frame: &[u8], count: usize) {
    feed.raise_low_water(feed.bounds().end);
    let mut append = feed.append();
    for _ in 0..count {
        append.frame(|out| out.put_slice(frame));
    }
}

fn read(feed: &Feed, from: u64) -> usize {
    let mut bytes = 0;
    let end = feed.read(from, |chunk, at| bytes += chunk.bytes()[at..].len());
    assert_eq!(end, Ok(feed.bounds().end));
    bytes
}

fn feed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("feed");
    for payload_bytes in sizes(&[64, 1_024, 16_384], &[64, 16_384]) {
        let frame = load::payload(payload_bytes);
        for count in [1, 16] {
            group.throughput(Throughput::Elements(count as u64));
            let size = format!("{count}x{payload_bytes}B");
            group.bench_function(BenchmarkId::new("append", &size), |bencher| {
                let feed = Feed::new(LAG);
                bencher.iter(|| append(&feed, &frame, count));
            });
            group.bench_function(
                BenchmarkId::new("append_and_first_read", &size),
                |bencher| {
                    let feed = Feed::new(LAG);
                    bencher.iter(|| {
                        let from = feed.bounds().end;
                        append(&feed, &frame, count);
                        let bytes = read(&feed, from);
                        assert_eq!(bytes, count * frame.len());
                    });
                },
            );
            group.bench_function(BenchmarkId::new("further_read", &size), |bencher| {
                let feed = Feed::new(LAG);
                append(&feed, &frame, count);
                read(&feed, 0);
                bencher.iter(|| assert_eq!(black_box(read(&feed, 0)), count * frame.len()));
            });
        }
    }
}

criterion_group!(name = benches; config = criterion(); targets = feed);
criterion_main!(benches);
