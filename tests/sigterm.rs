//! SIGTERM amid full traffic, with thousands of members: what was accepted before it is heard by all of
//! them, each is told to go, the process ends in time and with success, and they all come back at once.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    cell::Cell,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use support::{
    Goodbye, Peer, Program, Response, ServerFrame,
    books::{ENGINES, raise_descriptor_limit},
    soon, upgrade_request,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

const LISTENERS: usize = 5_000;
const SPEAKERS: usize = 4;

/// How many of its own messages each speaker has heard when the signal comes.
const HEARD_BEFORE: u64 = 15;

/// From the signal to the end of the process. Half of it is the window over which sessions are closed.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Until all of them are members again.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// No wait here is longer: there are thousands, and this may be a build without optimisation.
const PATIENCE: Duration = Duration::from_secs(60);

/// In the lobby, and has read nothing but the answer to its request.
async fn listener(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = upgrade_request("/ws/lobby", addr);
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(Response::read(&mut stream).await.status, 101);
    stream
}

/// All of them, at once.
async fn listeners(addr: SocketAddr) -> Vec<TcpStream> {
    let coming: JoinSet<_> = (0..LISTENERS).map(|_| listener(addr)).collect();
    timeout(PATIENCE, coming.join_all()).await.unwrap()
}

/// Says one thing after the other, each when it has heard the one before, until it is told to go.
/// Returns the code that it was told.
fn speaker(mut peer: Peer, number: usize, heard: Arc<AtomicU64>) -> JoinHandle<u16> {
    tokio::spawn(async move {
        for turn in 0_u64.. {
            let text = format!("{number} {turn} {}", "x".repeat(100));
            // It may be going already, which what it reads says.
            let _ = peer.stream.send(Message::text(&*text)).await;
            loop {
                match soon("hearing", peer.stream.next()).await {
                    Some(Ok(Message::Text(other))) if *other == *text => break,
                    Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                    Some(Ok(_)) => {}
                    other => panic!("instead of a goodbye: {other:?}"),
                }
            }
            heard.store(turn + 1, Ordering::SeqCst);
        }
        unreachable!("nobody speaks for ever")
    })
}

/// How much of each speaker's a listener has heard. Nothing may be missing between.
fn heard_of_each(frames: &[ServerFrame]) -> [u64; SPEAKERS] {
    let mut heard = [0; SPEAKERS];
    for frame in frames.iter().filter(|frame| frame.opcode == 1) {
        let mut words = frame.text().split(' ');
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (speaker, turn) = (number() as usize, number());
        assert_eq!(turn, heard[speaker], "of speaker {speaker}");
        heard[speaker] += 1;
    }
    heard
}

async fn one_termination(engine: &str) {
    // Listeners whose bytes are made by hand answer no pings.
    let quiet = ["timeouts.ping=1h", "timeouts.pong=30m"];
    let mut program = Program::start(&[&[engine], &quiet[..]].concat()).await;
    let addr = program.addr;
    let listeners = listeners(addr).await;
    let mut speakers = Vec::new();
    let heard: Vec<_> = (0..SPEAKERS).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let mut peers = Vec::new();
    for _ in 0..SPEAKERS {
        peers.push(Peer::connect(addr, "/ws/lobby").await);
    }
    program
        .until("joining", |status| {
            status["subscriptions"] == LISTENERS + SPEAKERS
        })
        .await;
    let mut reading = JoinSet::new();
    for mut stream in listeners {
        reading.spawn(async move { Goodbye::read(&mut stream).await });
    }
    for (number, peer) in peers.into_iter().enumerate() {
        speakers.push(speaker(peer, number, heard[number].clone()));
    }
    program
        .until("some talk", |_| {
            heard
                .iter()
                .all(|heard| heard.load(Ordering::SeqCst) >= HEARD_BEFORE)
        })
        .await;
    // Whoever hears his own message knows that it was accepted.
    let accepted: Vec<_> = heard
        .iter()
        .map(|heard| heard.load(Ordering::SeqCst))
        .collect();
    program.signal("TERM");
    let begin = Instant::now();
    let goodbyes = timeout(PATIENCE, reading.join_all()).await.unwrap();
    assert_eq!(goodbyes.len(), LISTENERS);
    for goodbye in goodbyes {
        assert_eq!((goodbye.code, &*goodbye.reason), (1001, "shutdown"));
        let heard = heard_of_each(&goodbye.before);
        for (heard, accepted) in heard.iter().zip(&accepted) {
            assert!(
                heard >= accepted,
                "{heard} of {accepted} that were accepted"
            );
        }
    }
    for speaker in speakers {
        let code = timeout(PATIENCE, speaker).await.unwrap().unwrap();
        assert_eq!(code, 1001);
    }
    assert_eq!(program.exit_code().await, Some(0));
    let took = begin.elapsed();
    assert!(took < ENDS_WITHIN, "{took:?}");
}

/// As many come to a server that has just begun, while somebody is there who hears every word of his.
async fn everybody_comes_back(engine: &str) {
    let program = Program::start(&[engine, "timeouts.ping=1h", "timeouts.pong=30m"]).await;
    let mut resident = Peer::connect(program.addr, "/ws/lobby").await;
    let (begin, are_back) = (Instant::now(), Cell::new(false));
    let coming = async {
        let listeners = listeners(program.addr).await;
        are_back.set(true);
        listeners
    };
    let speaking = async {
        let mut turn = 0_u64;
        while !are_back.get() {
            let text = turn.to_string();
            resident.send(&*text).await;
            assert_eq!(resident.next_text().await, text);
            turn += 1;
        }
    };
    let (listeners, ()) = tokio::join!(coming, speaking);
    let took = begin.elapsed();
    assert!(took < BACK_WITHIN, "{took:?}");
    let status = program.status().await;
    assert_eq!(status["subscriptions"], listeners.len() + 1, "{status:#}");
    assert_eq!(
        (&status["turned_away"], &status["accept_errors"]),
        (&0.into(), &0.into()),
        "{status:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_terminated_amid_its_traffic_loses_nothing_that_it_accepted() {
    raise_descriptor_limit();
    for engine in ENGINES {
        one_termination(engine).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_termination_everybody_may_come_back_at_once() {
    raise_descriptor_limit();
    for engine in ENGINES {
        everybody_comes_back(engine).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "twenty times the same: make soak"]
async fn twenty_terminations_lose_nothing() {
    raise_descriptor_limit();
    for engine in ENGINES {
        for _ in 0..10 {
            one_termination(engine).await;
            everybody_comes_back(engine).await;
        }
    }
}
