//! Peers that are there, and slow on purpose: each runs into a deadline that its slowness does not move.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use support::{
    Peer, Program, Response, ServerFrame,
    books::{ENGINES, NO_HISTORY},
    client_frame, soon, upgrade_request,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep},
};

const TEXT: u8 = 0x81;
const FIRST_FRAGMENT: u8 = 0x01;
const EMPTY_FRAGMENT: u8 = 0x00;
const PING: u8 = 0x9;
const PONG: u8 = 0x8a;

const PLAIN: &str = "/ws/lobby";

/// A member of the lobby whose bytes are made by hand.
async fn raw_member(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = upgrade_request(PLAIN, addr);
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(Response::read(&mut stream).await.status, 101);
    stream
}

/// Somebody who speaks in the lobby, and hears every word of it in time, until somebody else is gone.
struct Bystander {
    done: watch::Sender<bool>,
    speaking: JoinHandle<u64>,
}

impl Bystander {
    async fn begin(addr: SocketAddr, text: &'static str, pause: Duration) -> Self {
        let mut peer = Peer::connect(addr, PLAIN).await;
        let (done, is_done) = watch::channel(false);
        let speaking = tokio::spawn(async move {
            let mut said = 0;
            let mut ticks = interval(pause);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !*is_done.borrow() {
                peer.send(text).await;
                assert_eq!(peer.next_text().await, text);
                said += 1;
                ticks.tick().await;
            }
            said
        });
        Self { done, speaking }
    }

    async fn end(self) -> u64 {
        self.done.send_replace(true);
        soon("the bystander's end", self.speaking).await.unwrap()
    }
}

/// Waits until the server has ended a session for `reason`, while the rest go on.
async fn ended(program: &Program, reason: &str, count: u64) -> Value {
    program
        .until(reason, |status| status["closed"][reason] == count)
        .await
}

/// A server that asks often whether somebody is there, and soon knows that nobody is.
async fn soon_missing_pongs(engine: &str, settings: &[&str]) -> Program {
    let quick = [
        engine,
        NO_HISTORY,
        "timeouts.ping=1s",
        "timeouts.pong=800ms",
        "timeouts.close=100ms",
    ];
    Program::start(&[&quick, settings].concat()).await
}

#[tokio::test]
async fn a_frame_that_trickles_in_is_no_sign_of_life() {
    const FRAME_BYTES: usize = 5_000;
    for engine in ENGINES {
        let program = soon_missing_pongs(engine, &[]).await;
        let idle = program.idle();
        let bystander = Bystander::begin(program.addr, "hello", Duration::from_millis(50)).await;
        let mut slow = raw_member(program.addr).await;
        let frame = client_frame(TEXT, &[b'x'; FRAME_BYTES]);
        // It can't answer a ping meanwhile: it is in the middle of a frame.
        let trickling = async {
            let mut sent = 0;
            for byte in frame.chunks(1) {
                if slow.write_all(byte).await.is_err() {
                    break;
                }
                sent += 1;
                // The pace is the attack.
                sleep(Duration::from_millis(20)).await;
            }
            sent
        };
        let (sent, _) = tokio::join!(trickling, ended(&program, "no_pong", 1));
        assert!(sent < FRAME_BYTES / 5, "ended behind {sent} bytes");
        let said = bystander.end().await;
        let status = program.settled(idle, 0, 0).await;
        assert_eq!(status["published"], said, "{status:#}");
    }
}

#[tokio::test]
async fn fragments_without_end_are_no_sign_of_life() {
    for engine in ENGINES {
        let program = soon_missing_pongs(engine, &[]).await;
        let idle = program.idle();
        let bystander = Bystander::begin(program.addr, "hello", Duration::from_millis(50)).await;
        let mut endless = raw_member(program.addr).await;
        endless
            .write_all(&client_frame(FIRST_FRAGMENT, b"once upon a time"))
            .await
            .unwrap();
        // Nothing in them, so that their message never gets too long.
        let fragments = client_frame(EMPTY_FRAGMENT, b"").repeat(100);
        let telling = async { while endless.write_all(&fragments).await.is_ok() {} };
        let ((), _) = tokio::join!(
            soon("the end of the story", telling),
            ended(&program, "no_pong", 1)
        );
        let said = bystander.end().await;
        let status = program.settled(idle, 0, 0).await;
        assert_eq!(status["published"], said, "{status:#}");
    }
}

#[tokio::test]
async fn who_sends_pongs_and_reads_nothing_runs_into_the_write_deadline() {
    static LONG: [u8; 32_000] = [b'x'; 32_000];
    const MUTE: usize = 3;
    for engine in ENGINES {
        let program = soon_missing_pongs(
            engine,
            &[
                "timeouts.write=2s",
                // So far behind that only the time can end it.
                "room_defaults.lag_bytes=1GiB",
                "room_defaults.lag_messages=1000000",
            ],
        )
        .await;
        let idle = program.idle();
        let long = str::from_utf8(&LONG).unwrap();
        let mut mute = JoinSet::new();
        for _ in 0..MUTE {
            let mut stream = raw_member(program.addr).await;
            mute.spawn(async move {
                let pong = client_frame(PONG, b"");
                while stream.write_all(&pong).await.is_ok() {
                    sleep(Duration::from_millis(50)).await;
                }
            });
        }
        let bystander = Bystander::begin(program.addr, long, Duration::from_millis(1)).await;
        ended(&program, "write_timeout", MUTE as u64).await;
        soon("their end", mute.join_all()).await;
        let said = bystander.end().await;
        let status = program.settled(idle, 0, 0).await;
        assert_eq!(status["published"], said, "{status:#}");
        assert_eq!(status["closed"]["no_pong"], 0, "{status:#}");
        assert!(
            status["deliveries"]["discarded"].as_u64() > Some(0),
            "{status:#}"
        );
    }
}

#[tokio::test]
async fn a_slow_pong_is_a_pong_until_its_deadline() {
    const ANSWERED: usize = 3;
    let program = Program::start(&[
        NO_HISTORY,
        "timeouts.ping=2s",
        "timeouts.pong=1900ms",
        "timeouts.close=100ms",
    ])
    .await;
    let idle = program.idle();
    let mut slow = raw_member(program.addr).await;
    for _ in 0..ANSWERED {
        assert_eq!(ServerFrame::read(&mut slow).await.opcode, PING);
        // Half of the time that it has.
        sleep(Duration::from_millis(950)).await;
        slow.write_all(&client_frame(PONG, b"")).await.unwrap();
    }
    assert_eq!(ServerFrame::read(&mut slow).await.opcode, PING);
    assert_eq!(program.status().await["closed"]["no_pong"], 0);
    // The next one is not answered at all.
    ended(&program, "no_pong", 1).await;
    drop(slow);
    program.settled(idle, 0, 0).await;
}
