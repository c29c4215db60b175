//! A process that has run out of descriptors: it neither spins nor dies, and comes back by itself.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use support::{
    Peer, Program,
    books::{ENGINES, NO_HISTORY, cpu_time, descriptors},
    read_head, soon,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{interval, timeout},
};

/// How long a server is looked at while it has none, and what share of a core it may have meanwhile.
const WINDOW: Duration = Duration::from_secs(4);
const CORE_SHARE_MAX: u32 = 20;

/// Who is in the flood, and how long all of them together may wait for their connections. One that the
/// system has no place for waits for a second.
const FLOOD: usize = 300;
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);

/// From having descriptors again to answering.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(1);

async fn flood(addr: SocketAddr) -> Vec<TcpStream> {
    let begin = Instant::now();
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        let stream = soon("connecting", TcpStream::connect(addr)).await;
        flood.push(stream.unwrap());
    }
    let waited = begin.elapsed();
    assert!(waited < CONNECTS_WITHIN, "{waited:?} for all of them");
    flood
}

/// Speaks now and then for the window's length, and returns the server's processor time in it.
async fn cpu_time_while_speaking(program: &Program, member: &mut Peer) -> Duration {
    let (before, begin) = (cpu_time(program.pid()), Instant::now());
    let mut ticks = interval(Duration::from_millis(200));
    while begin.elapsed() < WINDOW {
        ticks.tick().await;
        member.send("still here").await;
        assert_eq!(member.next_text().await, "still here");
    }
    cpu_time(program.pid()) - before
}

/// Whether a request is answered within a second.
async fn answers(addr: SocketAddr) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(addr).await.ok()?;
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        Some(read_head(&mut stream).await.starts_with("HTTP/1.1 200"))
    };
    timeout(Duration::from_secs(1), asking).await == Ok(Some(true))
}

async fn answers_again(addr: SocketAddr) -> Duration {
    let begin = Instant::now();
    soon("an answer", async { while !answers(addr).await {} }).await;
    begin.elapsed()
}

/// Lets `program` have that many descriptors from now on.
fn limit_descriptors(program: &Program, soft: u64) {
    let pid = Pid::from_raw(program.pid().cast_signed()).unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(soft),
        maximum,
    };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
}

#[tokio::test]
async fn a_server_that_can_not_accept_rests_and_comes_back_at_once() {
    for engine in ENGINES {
        let program = Program::start(&[engine, NO_HISTORY]).await;
        let (idle, addr) = (program.idle(), program.addr);
        let mut members = Vec::new();
        for _ in 0..10 {
            members.push(Peer::connect(addr, "/ws/lobby").await);
        }
        let speaker = &mut members[0];
        // It has places for thousands, as far as it knows, and not one descriptor more.
        limit_descriptors(&program, descriptors(program.pid()) as u64);
        let flood = flood(addr).await;
        let cpu = cpu_time_while_speaking(&program, speaker).await;
        assert!(cpu < WINDOW / CORE_SHARE_MAX, "{cpu:?} of {WINDOW:?}");
        assert!(!answers(addr).await, "it has descriptors after all");
        limit_descriptors(&program, 2_000);
        let waited = answers_again(addr).await;
        assert!(waited < COMES_BACK_WITHIN, "{waited:?}");
        let status = program.status().await;
        let errors = status["accept_errors"].as_u64().unwrap();
        // Twenty a second, and none of them a turn of a loop that spins.
        let most = (WINDOW.as_secs() + 10) * 25;
        assert!((1..most).contains(&errors), "{errors} failed accepts");
        drop((flood, members));
        program.settled(idle, 0, 0).await;
    }
}

#[tokio::test]
async fn a_flood_at_a_limit_of_64_descriptors_costs_little_and_passes() {
    // Fewer than the reserve: a place for one connection, the member's.
    let program = Program::start_with_descriptors(64, &[NO_HISTORY]).await;
    let addr = program.addr;
    let idle = program.idle();
    let mut member = Peer::connect(addr, "/ws/lobby").await;
    let flood = flood(addr).await;
    let cpu = cpu_time_while_speaking(&program, &mut member).await;
    assert!(cpu < WINDOW / CORE_SHARE_MAX, "{cpu:?} of {WINDOW:?}");
    drop((flood, member));
    let waited = answers_again(addr).await;
    assert!(waited < COMES_BACK_WITHIN, "{waited:?}");
    let status = program.settled(idle, 0, 0).await;
    assert!(status["turned_away"].as_u64() > Some(0), "{status:#}");
}
