//! `/status` as a WebSocket: what goes on, once a second.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use serde_json::Value;
use slabcast::{
    fanout::Fanout,
    id::RoomName,
    publication::{PayloadKind, Publication},
};
use support::{Goodbye, Response, TestServer, config, soon, upgrade_request, upgraded};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;

async fn the_status_comes_once_a_second_behind_the_uptime<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    let mut watcher = server.plain("/status").await;
    let first = watcher.next_text().await;
    let seconds = first.strip_suffix(" seconds uptime").unwrap();
    assert!(seconds.parse::<u64>().unwrap() < 10, "{first}");

    let _member = server.plain("/ws/lobby").await;
    server
        .until("joining", |status| status.num_rooms == 1)
        .await;
    let start = Instant::now();
    let mut statuses: Vec<Value> = Vec::new();
    while statuses.len() < 4 {
        statuses.push(serde_json::from_str(&watcher.next_text().await).unwrap());
    }
    let elapsed = start.elapsed();
    assert!(
        (Duration::from_millis(1900)..Duration::from_secs(6)).contains(&elapsed),
        "{elapsed:?} for three intervals"
    );
    let last = statuses.last().unwrap();
    assert_eq!(last["connections"], 2, "its own among them");
    assert_eq!(last["rooms"][0]["name"], "lobby");
    // The same as without an upgrade.
    let mut plain = server.raw().await;
    let request = format!("GET /status HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
    plain.write_all(request.as_bytes()).await.unwrap();
    let plain: Value = serde_json::from_str(&Response::read(&mut plain).await.body).unwrap();
    let keys = |status: &Value| Vec::from_iter(status.as_object().unwrap().keys().cloned());
    assert_eq!(keys(last), keys(&plain));

    // What it is told is nobody's affair.
    watcher.send("hello").await;
    watcher.next_text().await;
    watcher.stream.close(None).await.unwrap();
    let status = server
        .until("leaving", |status| status.closed["peer_closed"] == 1)
        .await;
    assert_eq!((status.connections, status.opened), (1, 2));
    server.stop().await;
}

async fn a_watcher_is_pinged_and_one_that_never_answers_is_closed<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.timeouts.ping = Duration::from_millis(400);
        config.timeouts.pong = Duration::from_millis(200);
    }))
    .await;
    let mut silent = upgraded(&server, "/status").await;
    let goodbye = Goodbye::read(&mut silent).await;
    assert_eq!(goodbye.code, 1001, "{goodbye:?}");
    assert!(goodbye.before.iter().any(|frame| frame.opcode == 9));
    // Answers are given by reading.
    let mut answering = server.plain("/status").await;
    for _ in 0..3 {
        answering.next_text().await;
    }
    assert_eq!(server.status().await.closed["no_pong"], 1);
    server.stop().await;
}

async fn a_drain_closes_watchers_and_foreign_pages_may_not_watch<F: Fanout>() {
    let mut server = TestServer::<F>::on_engine(config(|_| ())).await;
    let mut stream = server.raw().await;
    let request = upgrade_request("/status", server.addr)
        .replace("\r\n\r\n", "\r\nOrigin: http://evil.example\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let refused = Response::read(&mut stream).await;
    assert_eq!(refused.status, 403);
    refused.error_message();

    let mut watcher = server.plain("/status").await;
    watcher.next_text().await;
    server.begin_drain();
    let frame = watcher.close_frame().await;
    assert_eq!((u16::from(frame.code), &*frame.reason), (1001, "shutdown"));
    server.drained().await;
}

async fn many_watchers_are_shown_one_and_the_same_status<F: Fanout>() {
    const WATCHERS: usize = 50;
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        watchers.push(server.plain("/status").await);
    }
    let mut shown = std::collections::BTreeSet::new();
    for watcher in &mut watchers {
        watcher.next_text().await;
        for _ in 0..2 {
            match soon("a status", watcher.stream.next()).await {
                Some(Ok(Message::Text(text))) => shown.insert(text.to_string()),
                other => panic!("{other:?}"),
            };
        }
    }
    // Two looks of each, and no more statuses than half seconds have passed.
    assert!(shown.len() < WATCHERS / 2, "{}", shown.len());
    server.stop().await;
}

on_every_engine! {
    the_status_comes_once_a_second_behind_the_uptime,
    a_watcher_is_pinged_and_one_that_never_answers_is_closed,
    a_drain_closes_watchers_and_foreign_pages_may_not_watch,
    many_watchers_are_shown_one_and_the_same_status,
}

#[tokio::test]
async fn the_status_of_many_rooms_lets_others_run_in_between() {
    const ROOMS: usize = 3000;
    let server = TestServer::start(config(|_| ())).await;
    for number in 0..ROOMS {
        let room = RoomName::parse(&format!("room-{number}")).unwrap();
        let publication = Publication::new(PayloadKind::Text, "hello".into());
        server
            .node
            .publish(&room, &mut vec![publication])
            .await
            .unwrap();
    }
    let mut collecting = pin!(server.status());
    let mut turns = 0;
    let status = poll_fn(|cx| {
        turns += 1;
        collecting.as_mut().poll(cx)
    })
    .await;
    assert_eq!(status.num_rooms, ROOMS);
    assert!(turns >= ROOMS / 300, "{turns}");
}

#[tokio::test]
async fn who_wants_another_protocol_gets_the_status_in_this_one() {
    let server = TestServer::start(config(|_| ())).await;
    for (version, upgrade) in [
        ("1.1", "h2c"),
        ("1.1", "TLS/1.0, foo"),
        ("1.0", "websocket"),
    ] {
        let mut plain = server.raw().await;
        let request = format!(
            "GET /status HTTP/{version}\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n",
            server.addr
        );
        plain.write_all(request.as_bytes()).await.unwrap();
        let answer = Response::read(&mut plain).await;
        assert_eq!(answer.status, 200, "{version} {upgrade}: {}", answer.body);
    }
}
