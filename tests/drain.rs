//! Going down in good order: what was said is heard, everybody is told, and nobody can hold it up.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Value, json};
use slabcast::{
    close::CloseReason,
    config::Config,
    fanout::{Fanout, Registry},
    id::{RoomName, UserId},
    node::{Node, NodeStatus},
    notifier::Notifier,
    publication::{ClientInfo, PayloadKind, Publication},
};
use support::{
    Goodbye, Peer, Program, Response, ServerFrame, TestServer, client_frame, config, read_to_end,
    soon, upgrade_request, upgraded,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

/// What a shell reports for a process that SIGTERM ended.
const TERMINATED: i32 = 143;

/// Waits until nobody can connect any more.
async fn nobody_is_accepted(addr: std::net::SocketAddr) {
    soon("the end of accepting", async {
        loop {
            match TcpStream::connect(addr).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return,
                // Also a reset: it was in the backlog when the listener went.
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
}

async fn raw(addr: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = upgrade_request(path, addr);
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(Response::read(&mut stream).await.status, 101);
    stream
}

/// A raw socket that is in the lobby on the Centrifugo way in.
async fn raw_centrifugo(addr: std::net::SocketAddr) -> TcpStream {
    let mut stream = raw(addr, "/connection/websocket").await;
    let commands = concat!(
        r#"{"id":1,"connect":{}}"#,
        "\n",
        r#"{"id":2,"subscribe":{"channel":"lobby"}}"#
    );
    let frame = client_frame(0x81, commands.as_bytes());
    stream.write_all(&frame).await.unwrap();
    let replies = ServerFrame::read(&mut stream).await;
    assert_eq!(replies.text().lines().count(), 2, "{}", replies.text());
    stream
}

#[tokio::test]
async fn a_drain_delivers_what_was_published_and_then_tells_everybody_to_go() {
    const MESSAGES: usize = 200;
    let mut program = Program::start(&["timeouts.drain_window=1s"]).await;
    let mut speaker = Peer::connect(program.addr, "/ws/lobby").await;
    let mut plain = vec![
        raw(program.addr, "/ws/lobby").await,
        raw(program.addr, "/ws/lobby").await,
    ];
    let mut centrifugo = vec![
        raw_centrifugo(program.addr).await,
        raw_centrifugo(program.addr).await,
    ];
    let texts: Vec<_> = (0..MESSAGES)
        .map(|n| format!("{n} {}", "x".repeat(1000)))
        .collect();
    for text in &texts {
        speaker.send(text.as_str()).await;
    }
    // The last own copy is the sign that all of them were published. Nobody else has read any yet.
    for text in &texts {
        assert_eq!(speaker.next_text().await, *text);
    }
    program.signal("TERM");
    for stream in &mut plain {
        let goodbye = Goodbye::read(stream).await;
        let heard: Vec<_> = goodbye.before.iter().map(ServerFrame::text).collect();
        assert_eq!(heard, texts);
        assert_eq!((goodbye.code, &*goodbye.reason), (1001, "shutdown"));
    }
    for stream in &mut centrifugo {
        let goodbye = Goodbye::read(stream).await;
        let lines = goodbye.before.iter().flat_map(|frame| frame.text().lines());
        let heard: Vec<_> = lines
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                line["push"]["pub"]["data"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(heard, texts);
        assert_eq!((goodbye.code, &*goodbye.reason), (3001, "shutdown"));
    }
    let frame = speaker.close_frame().await;
    assert_eq!((u16::from(frame.code), &*frame.reason), (1001, "shutdown"));
    drop((speaker, plain, centrifugo));
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test(start_paused = true)]
async fn goodbyes_are_spread_evenly_over_the_window() {
    const SESSIONS: u32 = 50;
    const WINDOW: Duration = Duration::from_secs(10);
    let node = Node::<Registry>::new(config(|_| ())).unwrap();
    let info = Arc::new(ClientInfo {
        client: "somebody".into(),
        user: UserId::default(),
        encoded: Box::default(),
    });
    let begin = tokio::time::Instant::now();
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS {
        let notifier = Arc::new(Notifier::default());
        let entry = node.enter(notifier.clone(), &info);
        sessions.spawn(async move {
            let summons = poll_fn(|cx| notifier.poll(cx, &mut VecDeque::new())).await;
            let close = summons.call.unwrap().close.unwrap();
            assert_eq!(close.reason, CloseReason::Drain);
            drop(entry);
            begin.elapsed()
        });
    }
    node.close_all(CloseReason::Drain.into(), WINDOW).await;
    let mut ends = sessions.join_all().await;
    ends.sort_unstable();
    for (index, end) in (0..).zip(ends) {
        let due = WINDOW / SESSIONS * index;
        let late = end.checked_sub(due).expect("nobody goes before his time");
        assert!(
            late < Duration::from_millis(10),
            "{end:?} instead of {due:?}"
        );
    }
}

#[tokio::test]
async fn an_idle_program_ends_at_once_and_with_success_on_either_signal() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(&[]).await;
        program.signal(signal);
        assert_eq!(program.exit_code().await, Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_draining_program_accepts_nobody_and_a_second_signal_ends_it_at_once() {
    let mut program = Program::start(&["timeouts.close=1h", "timeouts.drain_deadline=1h"]).await;
    // Is told to go, and never hangs up.
    let mut stays = raw(program.addr, "/ws/lobby").await;
    program.signal("TERM");
    nobody_is_accepted(program.addr).await;
    assert_eq!(Goodbye::read(&mut stays).await.code, 1001);
    assert_eq!(program.child.try_wait().unwrap(), None, "it still waits");
    program.signal("TERM");
    assert_eq!(program.exit_code().await, Some(TERMINATED));
}

#[tokio::test]
async fn the_close_deadline_ends_a_peer_that_does_not_hang_up_and_so_the_drain() {
    let mut program = Program::start(&["timeouts.close=300ms"]).await;
    let _stays = raw(program.addr, "/ws/lobby").await;
    program.signal("TERM");
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn connections_that_only_spoke_http_are_closed_by_a_drain() {
    let mut program = Program::start(&["timeouts.request_head=1h"]).await;
    let mut silent = TcpStream::connect(program.addr).await.unwrap();
    let mut kept_alive = TcpStream::connect(program.addr).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", program.addr);
    kept_alive.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(Response::read(&mut kept_alive).await.status, 200);
    program.signal("TERM");
    assert_eq!(read_to_end(&mut kept_alive).await, b"");
    assert_eq!(read_to_end(&mut silent).await, b"");
    assert_eq!(program.exit_code().await, Some(0));
}

/// More than the kernel takes on its own for a peer that doesn't read: the rest waits for it here.
const BEHIND_MESSAGES: usize = 400;
static BEHIND_MESSAGE: [u8; 60_000] = [b'x'; 60_000];

/// A server with a member of the lobby that has read nothing yet, and is far behind.
async fn with_a_member_behind<F: Fanout>(
    change: impl FnOnce(&mut Config),
) -> (TestServer<F>, TcpStream) {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.timeouts.close = Duration::from_secs(3600);
        config.timeouts.write = Duration::from_secs(3600);
        config.room_defaults.lag_bytes = 64 << 20;
        config.room_defaults.lag_messages = 100_000;
        change(config);
    }))
    .await;
    let behind = upgraded(&server, "/ws/lobby").await;
    let joined = |status: &NodeStatus| status.rooms.iter().any(|room| room.clients == 1);
    server.until("joining", joined).await;
    let lobby = RoomName::parse("lobby").unwrap();
    let mut batch = vec![
        Publication::new(PayloadKind::Text, Bytes::from_static(&BEHIND_MESSAGE));
        BEHIND_MESSAGES
    ];
    server.node.publish(&lobby, &mut batch).await.unwrap();
    // Nothing more is taken: what has been written does not change over a few looks.
    let mut sent = (0, 0);
    while sent.1 < 10 {
        let now = server.status().await.sent_bytes;
        sent = if now == sent.0 {
            (now, sent.1 + 1)
        } else {
            (now, 0)
        };
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = server.status().await;
    assert!(status.deliveries.pending > 0, "{:?}", status.deliveries);
    (server, behind)
}

async fn a_drain_gives_a_member_that_is_behind_the_time_to_read_everything<F: Fanout>() {
    let (mut server, mut behind) = with_a_member_behind::<F>(|_| ()).await;
    server.begin_drain();
    nobody_is_accepted(server.addr).await;
    let goodbye = Goodbye::read(&mut behind).await;
    assert_eq!(goodbye.code, 1001);
    assert_eq!(goodbye.before.len(), BEHIND_MESSAGES);
    for frame in goodbye.before {
        assert!(frame.text().as_bytes() == BEHIND_MESSAGE);
    }
    drop(behind);
    server.drained().await;
    let status = server.status().await;
    let deliveries = status.deliveries;
    assert_eq!(deliveries.delivered, deliveries.due, "{deliveries:?}");
}

async fn a_peer_that_takes_nothing_can_not_hold_a_drain_up_beyond_its_deadline<F: Fanout>() {
    let deadline = Duration::from_millis(700);
    let (mut server, _behind) =
        with_a_member_behind::<F>(|config| config.timeouts.drain_deadline = deadline).await;
    let mut good = server.plain("/ws/garden").await;
    let begin = Instant::now();
    server.begin_drain();
    assert_eq!(good.close_code().await, 1001);
    drop(good);
    server.drained().await;
    let took = begin.elapsed();
    // It was given its time, and not more than that.
    assert!(took >= deadline && took < deadline * 8, "{took:?}");
    assert_eq!(server.status().await.connections, 1, "left alone");
}

async fn a_drain_ends_as_soon_as_everybody_is_gone<F: Fanout>() {
    let mut server = TestServer::<F>::on_engine(config(|config| {
        config.timeouts.drain_window = Duration::from_secs(3000);
        config.timeouts.drain_deadline = Duration::from_secs(3600);
        config.timeouts.close = Duration::from_secs(3600);
    }))
    .await;
    let mut peers = Vec::new();
    for _ in 0..20 {
        peers.push(server.plain("/ws/lobby").await);
    }
    let json = server.centrifugo("ada").await;
    peers.push(json);
    server.begin_drain();
    for mut peer in peers {
        let code = peer.close_code().await;
        assert!([1001, 3001].contains(&code), "{code}");
    }
    server.drained().await;
    let status = server.status().await;
    assert_eq!((status.connections, status.num_rooms), (0, 0));
    assert_eq!(status.closed["drain"], 21, "{:?}", status.closed);
}

#[tokio::test]
async fn a_peer_that_has_not_connected_yet_is_told_to_go_as_well() {
    let mut server = TestServer::start(config(|_| ())).await;
    let mut silent = upgraded(&server, "/connection/websocket").await;
    server
        .until("joining", |status| status.connections == 1)
        .await;
    server.begin_drain();
    let goodbye = Goodbye::read(&mut silent).await;
    assert_eq!((goodbye.code, goodbye.before), (3001, vec![]));
    drop(silent);
    server.drained().await;
}

#[tokio::test]
async fn an_upgrade_that_was_half_asked_for_when_the_drain_began_is_sent_elsewhere() {
    let mut server = TestServer::start(config(|_| ())).await;
    let mut stream = server.raw().await;
    let request = upgrade_request("/ws/lobby", server.addr);
    let (start, rest) = request.split_at(30);
    // Behind a whole request, so that the answer to that tells that the half has been read too.
    let first = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
    stream.write_all((first + start).as_bytes()).await.unwrap();
    assert_eq!(Response::read(&mut stream).await.status, 200);
    server.begin_drain();
    nobody_is_accepted(server.addr).await;
    // Whether it is still heard or not, nobody gets in.
    let _ = stream.write_all(rest.as_bytes()).await;
    let answer = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 503 "),
        "{answer}"
    );
    drop(stream);
    server.drained().await;
}

async fn a_message_that_reached_the_server_before_its_drain_is_still_delivered<F: Fanout>() {
    // Not one of a thousand, but in a room where every member hears each message before the close.
    for _ in 0..20 {
        let mut server = TestServer::<F>::on_engine(config(|_| ())).await;
        let mut listener = server.centrifugo("ada").await;
        let subscribe = json!({"id": 2, "subscribe": {"channel": "lobby"}});
        listener.ask(subscribe).await;
        let mut speaker = server.plain("/ws/lobby").await;
        server
            .until("joining", |status| {
                status.rooms.iter().any(|room| room.clients == 2)
            })
            .await;
        speaker.send("last words").await;
        server
            .until("publishing", |status| status.published == 1)
            .await;
        server.begin_drain();
        let push = listener.next_json().await;
        assert_eq!(push["push"]["pub"]["data"], "last words");
        assert_eq!(listener.close_code().await, 3001);
        assert_eq!(speaker.next_text().await, "last words");
        assert_eq!(speaker.close_code().await, 1001);
        server.drained().await;
    }
}

on_every_engine!(
    a_drain_gives_a_member_that_is_behind_the_time_to_read_everything,
    a_peer_that_takes_nothing_can_not_hold_a_drain_up_beyond_its_deadline,
    a_drain_ends_as_soon_as_everybody_is_gone,
    a_message_that_reached_the_server_before_its_drain_is_still_delivered,
);
