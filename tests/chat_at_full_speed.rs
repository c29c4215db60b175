//! All-to-all chat over real sockets: every client gets every message, all in one order.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    time::Duration,
};

use serde_json::json;
use slabcast::{config::Config, fanout::Fanout};
use support::{Peer, TestServer, client_frame, config, soon, upgraded};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

const CLIENTS: u64 = 16;
const EACH: u64 = 20_000;

/// What one client has seen: how many, and a digest of which in what order.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    messages: u64,
    digest: u64,
}

/// A message is its sender and its number, so every frame has a header of 2 bytes and 12 more.
const PAYLOAD_BYTES: usize = 12;
const FRAME_BYTES: usize = 2 + PAYLOAD_BYTES;

async fn send(
    mut to: tokio::net::tcp::OwnedWriteHalf,
    sender: u64,
) -> tokio::net::tcp::OwnedWriteHalf {
    // A hundred frames a write, as from a client whose event loop is busy.
    for first in (0..EACH).step_by(100) {
        let frames: Vec<u8> = (first..first + 100)
            .flat_map(|number| client_frame(0x82, format!("{sender:02}{number:010}").as_bytes()))
            .collect();
        to.write_all(&frames).await.unwrap();
    }
    to
}

async fn receive(mut from: tokio::net::tcp::OwnedReadHalf) -> Seen {
    let mut digest = DefaultHasher::new();
    let mut next = [0; CLIENTS as usize];
    let mut messages = 0;
    let (mut buffer, mut filled) = (vec![0; 256 * 1024], 0);
    while messages < CLIENTS * EACH {
        let bytes = from.read(&mut buffer[filled..]).await.unwrap();
        assert!(bytes > 0, "closed after {messages} messages");
        filled += bytes;
        let whole = filled / FRAME_BYTES * FRAME_BYTES;
        for frame in buffer[..whole].chunks_exact(FRAME_BYTES) {
            assert_eq!(
                frame[..2],
                [0x82, PAYLOAD_BYTES as u8],
                "one frame a message"
            );
            let payload = str::from_utf8(&frame[2..]).unwrap();
            let sender: usize = payload[..2].parse().unwrap();
            let number: u64 = payload[2..].parse().unwrap();
            assert_eq!(
                number, next[sender],
                "no loss, no duplicate, each sender's own order"
            );
            next[sender] += 1;
            payload.hash(&mut digest);
            messages += 1;
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
    Seen {
        messages,
        digest: digest.finish(),
    }
}

async fn everybody_talks_to_everybody<F: Fanout>(history_size: usize) {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.history_size = history_size;
        // Not everybody here answers pings, and a slow machine may take its time.
        config.timeouts.ping = Duration::from_secs(600);
    }))
    .await;
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..CLIENTS {
        streams.push(upgraded(&server, "/ws/lobby").await);
    }
    server
        .until("joining", |status| {
            status
                .rooms
                .iter()
                .any(|room| room.clients as u64 == CLIENTS)
        })
        .await;
    let (mut senders, mut receivers) = (JoinSet::new(), JoinSet::new());
    for (stream, sender) in streams.into_iter().zip(0..) {
        let (from, to) = stream.into_split();
        senders.spawn(send(to, sender));
        receivers.spawn(receive(from));
    }
    let patience = support::PATIENCE * 10;
    let seen = timeout(patience, receivers.join_all())
        .await
        .expect("everything within patience");
    assert_eq!(seen.len() as u64, CLIENTS);
    for one in &seen {
        assert_eq!(one, &seen[0], "one order for everybody");
        assert_eq!(one.messages, CLIENTS * EACH);
    }
    let _still_connected = senders.join_all().await;
    let status = server
        .until("the last count", |status| {
            status.deliveries.delivered == status.deliveries.due
        })
        .await;
    assert_eq!(status.published, CLIENTS * EACH);
    assert_eq!(status.deliveries.due, CLIENTS * CLIENTS * EACH);
    assert_eq!(status.deliveries.pending, 0);
}

async fn sixteen_who_say_20000_things_each_hear_all_of_them_in_one_order_with_history<F: Fanout>() {
    everybody_talks_to_everybody::<F>(100).await;
}

async fn sixteen_who_say_20000_things_each_hear_all_of_them_in_one_order_without_history<
    F: Fanout,
>() {
    everybody_talks_to_everybody::<F>(0).await;
}

/// A room with a plain member and a Centrifugo member that only listen, and one that says `burst`.
async fn everybody_hears_all_of<F: Fanout>(config: Config, burst: Vec<u8>, messages: usize) {
    let server = TestServer::<F>::on_engine(config).await;
    let mut plain = server.plain("/ws/lobby").await;
    let mut centrifugo = server.centrifugo("").await;
    centrifugo
        .ask(json!({"id": 2, "subscribe": {"channel": "lobby"}}))
        .await;
    let mut talker = upgraded(&server, "/ws/lobby").await;
    server
        .until("joining", |status| {
            status.rooms.iter().any(|room| room.clients == 3)
        })
        .await;
    let (mut from, mut to) = talker.split();
    let hear_plain = async {
        for _ in 0..messages {
            plain.next_text().await;
        }
    };
    let hear_centrifugo = async {
        for _ in 0..messages {
            let push = centrifugo.next_json().await;
            assert!(push["push"]["pub"]["data"].is_string(), "{push}");
        }
    };
    let read_own = async {
        let mut buffer = vec![0; 64 * 1024];
        while from.read(&mut buffer).await.unwrap() > 0 {}
    };
    let hear = async {
        tokio::join!(hear_plain, hear_centrifugo, to.write_all(&burst))
            .2
            .unwrap()
    };
    tokio::select! {
        () = hear => {}
        () = read_own => panic!("the talker was closed"),
    }
    assert_eq!(server.status().await.dropped, 0);
}

async fn a_burst_longer_than_the_lag_limit_harms_nobody_who_reads<F: Fanout>() {
    // More messages in one read than a member may be behind.
    let burst: Vec<u8> = (0..30_000).flat_map(|_| client_frame(0x81, b"")).collect();
    everybody_hears_all_of::<F>(config(|_| ()), burst, 30_000).await;
}

async fn messages_that_grow_in_a_dialect_harm_nobody_who_reads<F: Fanout>() {
    // As JSON, each control character is six bytes, and three of these are more than the limit. All
    // of them together are not more than sockets hold, for who leaves one full is not waited for.
    const MESSAGE_BYTES: usize = 4096;
    let config = config(|config| config.room_defaults.lag_bytes = 17 * MESSAGE_BYTES);
    let burst: Vec<u8> = (0..40)
        .flat_map(|_| client_frame(0x81, &[1; MESSAGE_BYTES]))
        .collect();
    everybody_hears_all_of::<F>(config, burst, 40).await;
}

/// One who is in the room `home` and nowhere else.
async fn at_home<F: Fanout>(server: &TestServer<F>, home: &str) -> Peer {
    let mut peer = server.centrifugo("").await;
    peer.ask(json!({"id": 2, "subscribe": {"channel": home}}))
        .await;
    peer
}

/// Says 400 things in the room `away`, in one frame, and hears 400 at home.
async fn talk_crosswise(peer: &mut Peer, away: &str) {
    let said = |id| json!({"id": id, "publish": {"channel": away, "data": id}}).to_string();
    peer.send((3..403).map(said).collect::<Vec<_>>().join("\n"))
        .await;
    let (mut replies, mut pushes) = (0, 0);
    while replies < 400 || pushes < 400 {
        for line in peer.next_text().await.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            match value["push"]["pub"]["data"].as_u64() {
                Some(_) => pushes += 1,
                None => replies += usize::from(value["publish"].is_object()),
            }
        }
    }
}

async fn those_who_talk_into_each_others_rooms_do_not_wait_for_each_other<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        // So narrow that each of them is soon waited for, in the middle of its own frame.
        config.room_defaults.lag_messages = 16;
    }))
    .await;
    let (mut a, mut b) = (at_home(&server, "a").await, at_home(&server, "b").await);
    let talking = async { tokio::join!(talk_crosswise(&mut a, "b"), talk_crosswise(&mut b, "a")) };
    // A publisher that loses patience does so after a second, and each of these would.
    soon("the end of the talk", talking).await;
    assert_eq!(server.status().await.closed["slow_consumer"], 0);
}

on_every_engine!(
    sixteen_who_say_20000_things_each_hear_all_of_them_in_one_order_with_history,
    sixteen_who_say_20000_things_each_hear_all_of_them_in_one_order_without_history,
    a_burst_longer_than_the_lag_limit_harms_nobody_who_reads,
    messages_that_grow_in_a_dialect_harm_nobody_who_reads,
    those_who_talk_into_each_others_rooms_do_not_wait_for_each_other,
);
