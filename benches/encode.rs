//! Encoding a publication once for a room, against once for each of its members.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails may say so by panicking"
)]

mod support;

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{criterion_group, criterion_main};
use slabcast::{
    id::RoomName,
    protocol::{centrifugo::RoomPushes, plain},
    publication::{PayloadKind, Publication},
};
use support::{
    criterion::{BenchmarkId, Criterion, Throughput, criterion, sizes},
    load,
};

fn publication(bytes: usize) -> Publication {
    let text = [&b"\""[..], &load::payload(bytes), b"\""].concat();
    Publication::new(PayloadKind::Json, Bytes::from(text))
}

fn compare(
    criterion: &mut Criterion,
    name: &str,
    publication: &Publication,
    encode: impl Fn(&mut BytesMut, &Publication),
) {
    const MEMBERS: usize = 1_000;
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(MEMBERS as u64));
    let id = |how| BenchmarkId::new(format!("{name}/{how}"), publication.payload.len() - 2);
    let mut out = BytesMut::new();
    group.bench_function(id("once"), |bencher| {
        bencher.iter(|| {
            out.reserve(publication.payload.len() + 128);
            encode(&mut out, publication);
            let frame = out.split().freeze();
            // What a member of an outbox of shared bytes costs; one of the feed not even this.
            let frames: [Bytes; MEMBERS] = std::array::from_fn(|_| frame.clone());
            black_box(&frames);
        });
    });
    group.bench_function(id("per_client"), |bencher| {
        bencher.iter(|| {
            for _ in 0..MEMBERS {
                out.clear();
                encode(&mut out, black_box(publication));
                black_box(&out);
            }
        });
    });
    assert!(out.len() > publication.payload.len() - 2, "it is all there");
}

fn encode(criterion: &mut Criterion) {
    let pushes = RoomPushes::new(&RoomName::parse("lobby").unwrap());
    for bytes in sizes(&[64, 1_024, 16_384], &[64, 16_384]) {
        let publication = publication(bytes);
        compare(criterion, "plain", &publication, |out, publication| {
            plain::put_publication(out, publication);
        });
        compare(criterion, "centrifugo", &publication, |out, publication| {
            pushes.put_publication(out, publication, Some(1));
        });
    }
}

criterion_group!(name = benches; config = criterion(); targets = encode);
criterion_main!(benches);
