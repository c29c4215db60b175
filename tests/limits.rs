//! What one peer can take up, and that the others go on when it is all gone.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use serde_json::json;
use support::{
    Goodbye, PATIENCE, Peer, Program, Response, ServerFrame, TestServer, books::cpu_time,
    client_frame, config, read_head, read_to_end, soon, upgrade_request, upgraded,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const CENTRIFUGO: &str = "/connection/websocket";

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;

async fn connect(addr: std::net::SocketAddr) -> TcpStream {
    soon("connecting", TcpStream::connect(addr)).await.unwrap()
}

/// The most memory that a process has had so far, in MiB.
fn peak_memory_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

/// Asks `is_reached` until it says so.
async fn until<F: Future<Output = bool>>(what: &str, is_reached: impl Fn() -> F) {
    soon(what, async {
        while !is_reached().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Whether one can become a member now.
async fn is_let_in(addr: std::net::SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(addr).await else {
        return false;
    };
    let request = upgrade_request("/ws/lobby", addr);
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let mut start = [0; 12];
    let read = timeout(Duration::from_secs(1), stream.read_exact(&mut start)).await;
    matches!(read, Ok(Ok(_))) && start == *b"HTTP/1.1 101"
}

#[tokio::test]
async fn a_full_server_says_so_and_takes_somebody_when_somebody_leaves() {
    let server = TestServer::start(config(|config| config.limits.connections = Some(2))).await;
    let mut ada = server.plain("/ws/lobby").await;
    let bob = server.centrifugo("bob").await;
    for _ in 0..3 {
        // It need not ask for anything to be told.
        let mut third = server.raw().await;
        let response = Response::read(&mut third).await;
        assert_eq!(response.status, 503);
        response.error_message();
        let seconds = response.header("retry-after").expect("when to come back");
        assert!(seconds.parse::<u32>().unwrap() > 0);
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(read_to_end(&mut third).await, b"");
    }
    let status = server.status().await;
    assert_eq!((status.turned_away, status.accepted), (3, 2));
    ada.send("still here").await;
    assert_eq!(ada.next_text().await, "still here");
    drop(bob);
    let addr = server.addr;
    until("a place", || is_let_in(addr)).await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_counts_from_its_first_byte_to_its_last_and_not_only_as_a_session() {
    let server = TestServer::start(config(|config| config.limits.connections = Some(1))).await;
    let mut first = server.raw().await;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
    first.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(Response::read(&mut first).await.status, 200);
    let mut second = server.raw().await;
    assert_eq!(Response::read(&mut second).await.status, 503);
    // The same connection as a session, which is no second one.
    let request = upgrade_request("/ws/lobby", server.addr);
    first.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(Response::read(&mut first).await.status, 101);
    let mut third = server.raw().await;
    assert_eq!(Response::read(&mut third).await.status, 503);
    drop(first);
    let addr = server.addr;
    until("a place", || is_let_in(addr)).await;
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_connections_beyond_the_descriptor_limit_leaves_members_alone() {
    // 16 connections, and 64 descriptors in reserve.
    let program = Program::start_with_descriptors(80, &[]).await;
    let mut member = Peer::connect(program.addr, "/ws/lobby").await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(connect(program.addr).await);
    }
    for n in 0..20 {
        let text = format!("message {n}");
        member.send(text.as_str()).await;
        assert_eq!(member.next_text().await, text);
    }
    drop(flood);
    let addr = program.addr;
    until("a place", || is_let_in(addr)).await;
    let status = program.status().await;
    assert_eq!(status["accept_errors"], 0, "the reserve was enough");
    assert!(status["turned_away"].as_u64() > Some(0), "{status}");
}

#[tokio::test]
async fn a_server_without_descriptors_rests_and_takes_connections_again_when_there_are_some() {
    // Fewer than the reserve: one connection, and too few to turn all others away at once.
    let program = Program::start_with_descriptors(24, &[]).await;
    let pid = program.pid();
    let mut member = Peer::connect(program.addr, "/ws/lobby").await;
    let (cpu_before, begin) = (cpu_time(pid), Instant::now());
    let mut flood = Vec::new();
    for _ in 0..150 {
        flood.push(connect(program.addr).await);
    }
    // A message now and then, while each of the flood holds its descriptor until it has been told
    // to go and given a second to do so.
    let mut said = 0;
    while begin.elapsed() < Duration::from_secs(4) {
        let text = format!("message {said}");
        member.send(text.as_str()).await;
        assert_eq!(member.next_text().await, text);
        said += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (cpu, elapsed) = (cpu_time(pid) - cpu_before, begin.elapsed());
    assert!(cpu < elapsed / 10, "{cpu:?} of {elapsed:?}");
    drop(flood);
    drop(member);
    let addr = program.addr;
    until("a place", || is_let_in(addr)).await;
    until("a quiet moment", || async {
        // The look itself needs the only place.
        let mut stream = connect(addr).await;
        let request = format!("GET /status HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = String::from_utf8(read_to_end(&mut stream).await).unwrap();
        let Some((_, body)) = answer.split_once("\r\n\r\n") else {
            return false;
        };
        let status: serde_json::Value = serde_json::from_str(body).unwrap();
        let errors = &status["accept_errors"];
        assert!(
            errors.is_null() || errors.as_u64() > Some(0),
            "descriptors ran out: {status}"
        );
        errors.is_u64()
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let limit = Duration::from_millis(300);
    let server = TestServer::start(config(|config| config.timeouts.request_head = limit)).await;
    let begin = Instant::now();
    let mut silent = server.raw().await;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
    let mut kept_alive = server.raw().await;
    kept_alive.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(Response::read(&mut kept_alive).await.status, 200);
    assert_eq!(read_to_end(&mut silent).await, b"");
    assert_eq!(read_to_end(&mut kept_alive).await, b"");
    assert!(begin.elapsed() >= limit, "{:?}", begin.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_is_closed_even_while_it_grows() {
    let limit = Duration::from_millis(400);
    let server = TestServer::start(config(|config| config.timeouts.request_head = limit)).await;
    let mut half = server.raw().await;
    let head = format!("GET /ws/lobby HTTP/1.1\r\nHost: {}\r\n", server.addr);
    half.write_all(head.as_bytes()).await.unwrap();
    let mut slow = server.raw().await;
    slow.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = slow.into_split();
    let trickling = async {
        // One header after the other, for ever: the pace is the attack.
        while writer.write_all(b"X-Slow: 1\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut answer = Vec::new();
    let ending = async {
        let _ = soon("its end", reader.read_to_end(&mut answer)).await;
    };
    tokio::select! {
        () = ending => {}
        () = trickling => {}
    }
    let answer = [answer, read_to_end(&mut half).await].concat();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.is_empty() || answer.contains(" 408 "), "{answer}");
    let status = server.status().await;
    assert_eq!((status.connections, status.requests), (0, 0));
    let mut member = server.plain("/ws/lobby").await;
    member.send("hello").await;
    assert_eq!(member.next_text().await, "hello");
    server.stop().await;
}

#[tokio::test]
async fn a_session_outlives_the_time_for_a_head() {
    let limit = Duration::from_millis(200);
    let server = TestServer::start(config(|config| config.timeouts.request_head = limit)).await;
    let mut member = server.plain("/ws/lobby").await;
    // Another connection's end is the sign that the time has passed.
    assert_eq!(read_to_end(&mut server.raw().await).await, b"");
    member.send("hello").await;
    assert_eq!(member.next_text().await, "hello");
    server.stop().await;
}

#[tokio::test]
async fn a_head_over_its_limit_is_refused() {
    let limit = 8 * 1024;
    let server = TestServer::start(config(|config| config.limits.head_bytes = limit)).await;
    let head = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n", server.addr);
    let one = format!("{head}X-Long: {}\r\n\r\n", "x".repeat(limit));
    let many = format!("{head}{}\r\n", "X-Many: 1\r\n".repeat(limit / 8));
    let endless = format!("{head}X-Long: {}", "x".repeat(4 * limit));
    let target = format!(
        "GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n",
        "x".repeat(limit),
        server.addr
    );
    for wrong in [one, many, endless, target] {
        let mut stream = server.raw().await;
        // It may be refused before all of it is sent.
        let _ = stream.write_all(wrong.as_bytes()).await;
        let answer = Response::read(&mut stream).await;
        assert_eq!(answer.status, 431, "{answer:?}");
        let message = answer.error_message();
        assert!(
            message.contains("8192 bytes (limits.head_bytes)"),
            "{message}"
        );
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(read_to_end(&mut stream).await, b"");
    }
    assert_eq!(server.status().await.requests, 0);
    let mut stream = server.raw().await;
    let fits = format!("{head}X-Long: {}\r\n\r\n", "x".repeat(limit / 2));
    stream.write_all(fits.as_bytes()).await.unwrap();
    assert_eq!(Response::read(&mut stream).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_read_as_a_request_is_told_so_in_json() {
    let server = TestServer::start(config(|_| {})).await;
    let post = "POST /send?uid=1 HTTP/1.1\r\nHost: localhost\r\n";
    for wrong in [
        "hello\r\n\r\n".to_owned(),
        "GET / HTTP/3.9\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost localhost\r\n\r\n".to_owned(),
        format!("{post}Content-Length: many\r\n\r\n"),
        format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        format!("{post}Transfer-Encoding: gzip\r\n\r\nab"),
        // Behind a request that was answered.
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nhello\r\n\r\n".to_owned(),
    ] {
        let mut stream = server.raw().await;
        stream.write_all(wrong.as_bytes()).await.unwrap();
        let mut answer = Response::read(&mut stream).await;
        if answer.status == 200 {
            answer = Response::read(&mut stream).await;
        }
        assert_eq!(answer.status, 400, "{wrong}");
        let message = answer.error_message();
        assert!(message.contains("HTTP/1.1"), "{message}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(read_to_end(&mut stream).await, b"");
    }
    server.stop().await;
}

/// A peer on the Centrifugo way in that is connected and will read nothing more.
async fn connected(addr: std::net::SocketAddr) -> TcpStream {
    let mut stream = connect(addr).await;
    let mut bytes = upgrade_request(CENTRIFUGO, addr).into_bytes();
    bytes.extend(client_frame(TEXT, br#"{"id":1,"connect":{}}"#));
    stream.write_all(&bytes).await.unwrap();
    assert_eq!(Response::read(&mut stream).await.status, 101);
    let reply = ServerFrame::read(&mut stream).await;
    assert!(reply.text().contains("connect"), "{}", reply.text());
    stream
}

/// Sends `bytes` over and over until the server has enough of it.
async fn send_for_ever(stream: &mut TcpStream, bytes: &[u8]) {
    soon("the end of the server's patience", async {
        while stream.write_all(bytes).await.is_ok() {}
    })
    .await;
}

/// Has a peer send `command` without end, whose answers it does not read.
async fn ask_without_end_and_read_nothing(path: &str, command: &[u8]) {
    let server = TestServer::start(config(|config| {
        config.timeouts.write = Duration::from_secs(2);
    }))
    .await;
    let mut member = server.plain("/ws/lobby").await;
    let mut greedy = upgraded(&server, path).await;
    if path == CENTRIFUGO {
        let connect = client_frame(TEXT, br#"{"id":1,"connect":{}}"#);
        greedy.write_all(&connect).await.unwrap();
        ServerFrame::read(&mut greedy).await;
    }
    greedy.write_all(command).await.unwrap();
    let answer = ServerFrame::read(&mut greedy).await.payload.len();
    let answer = answer as u64 + if answer < 126 { 2 } else { 4 };
    let before = server.status().await;
    let said = Cell::new(0_u64);
    let talking = async {
        loop {
            let text = format!("{:100}", said.get());
            member.send(text.as_str()).await;
            said.set(said.get() + 1);
            assert_eq!(member.next_text().await, text, "others go on");
        }
    };
    let commands = command.repeat(100);
    let until_closed = async {
        tokio::join!(
            send_for_ever(&mut greedy, &commands),
            server.until("its end", |status| status.closed["write_timeout"] == 1)
        )
        .1
    };
    let status = tokio::select! {
        never = talking => never,
        status = until_closed => status,
    };
    assert_eq!(status.connections, 1);
    // What was read of it, less what the kernel has taken of the replies, waited in our memory. The
    // member's part of the traffic is known: 6 and 2 bytes of header, and the last may be on its way.
    let heard = status.received_bytes - before.received_bytes - 106 * (said.get() - 1);
    let sent = status.sent_bytes - before.sent_bytes - 102 * (said.get() - 1);
    let replies = heard / command.len() as u64 * answer;
    // Reading stops at 64 KiB of replies, but what one read brought may ask for some more.
    let unread = replies.saturating_sub(sent);
    assert!(unread < 512 * 1024, "{unread} bytes of unread replies");
    assert!(heard > 100_000, "it was listened to at first: {heard}");
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_asks_and_never_reads_is_not_listened_to_and_then_closed() {
    let command = client_frame(TEXT, br#"{"id":2,"presence":{"channel":"lobby"}}"#);
    ask_without_end_and_read_nothing(CENTRIFUGO, &command).await;
}

#[tokio::test]
async fn a_peer_that_pings_and_never_reads_is_not_listened_to_and_then_closed() {
    let ping = client_frame(PING, &[b'x'; 125]);
    ask_without_end_and_read_nothing("/ws/garden", &ping).await;
    ask_without_end_and_read_nothing(CENTRIFUGO, &ping).await;
}

/// Has a peer send `bytes`, which ask for a hundred replies of a megabyte, and read none of them.
async fn ask_for_much_and_read_nothing(bytes: impl FnOnce(&str) -> Vec<u8>) {
    const GROWTH_MIB_MAX: u64 = 32;
    let program = Program::start(&["timeouts.write=1s"]).await;
    let mut member = Peer::connect(program.addr, "/ws/lobby").await;
    let long = "x".repeat(10_000);
    for _ in 0..100 {
        member.send(long.as_str()).await;
        assert_eq!(member.next_text().await, long);
    }
    let before = peak_memory_mib(program.pid());
    let mut greedy = connected(program.addr).await;
    let command = json!({"id": 2, "history": {"channel": "lobby", "limit": -1}});
    greedy
        .write_all(&bytes(&command.to_string()))
        .await
        .unwrap();
    until("its end", || async {
        let grown = peak_memory_mib(program.pid()) - before;
        assert!(grown < GROWTH_MIB_MAX, "{grown} MiB of unread replies");
        // Too slow to write to, or too slow to go on answering: either may come first.
        let status = program.status().await;
        let closed = &status["closed"];
        status["connections"] == 1 && (closed["write_timeout"] == 1 || closed["slow_consumer"] == 1)
    })
    .await;
    member.send("still here").await;
    assert_eq!(member.next_text().await, "still here");
}

#[tokio::test]
async fn unread_replies_to_many_frames_are_bounded_however_large_each_is() {
    ask_for_much_and_read_nothing(|command| client_frame(TEXT, command.as_bytes()).repeat(100))
        .await;
}

#[tokio::test]
async fn unread_replies_to_one_frame_are_bounded_however_large_each_is() {
    ask_for_much_and_read_nothing(|command| {
        client_frame(TEXT, vec![command; 100].join("\n").as_bytes())
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_has_said_who_it_is_is_not_stale_while_it_reads_its_replies() {
    const REPLIES: usize = 40;
    let server = TestServer::start(config(|config| {
        config.timeouts.login = Duration::from_millis(300);
    }))
    .await;
    let mut member = server.plain("/ws/lobby").await;
    let long = "x".repeat(10_000);
    for _ in 0..100 {
        member.send(long.as_str()).await;
        assert_eq!(member.next_text().await, long);
    }
    // All in its first frame, as clients send it, and more in answer than the kernel takes.
    let history = json!({"id": 2, "history": {"channel": "lobby", "limit": -1}}).to_string();
    let lines = [
        vec![r#"{"id":1,"connect":{}}"#],
        vec![&*history; REPLIES],
        vec![r#"{"id":3,"presence_stats":{"channel":"lobby"}}"#],
    ];
    let mut peer = upgraded(&server, CENTRIFUGO).await;
    let frame = client_frame(TEXT, lines.concat().join("\n").as_bytes());
    peer.write_all(&frame).await.unwrap();
    // It gets to reading when the time for a login is over for others.
    let mut silent = upgraded(&server, CENTRIFUGO).await;
    assert_eq!(Goodbye::read(&mut silent).await.code, 3502);
    let mut replies = Vec::new();
    let mut bytes = vec![0; 1 << 20];
    while !replies.ends_with(br#"{"num_clients":1,"num_users":1}}"#) {
        let read = soon("the next replies", peer.read(&mut bytes)).await;
        let read = read.unwrap();
        assert_ne!(read, 0, "closed behind {} bytes", replies.len());
        replies.extend(&bytes[..read]);
        if replies.len() > 100 {
            let end = String::from_utf8_lossy(&replies[replies.len() - 100..]);
            assert!(!end.contains("stale"), "{end}");
        }
    }
    assert!(replies.len() > REPLIES * 1_000_000, "{}", replies.len());
    assert_eq!(server.status().await.closed["no_login"], 1);
    server.stop().await;
}

#[tokio::test]
async fn a_member_that_never_reads_is_closed_and_the_others_get_everything() {
    let server = TestServer::start(config(|config| {
        config.timeouts.write = Duration::from_secs(60);
        config.room_defaults.lag_bytes = 256 * 1024;
    }))
    .await;
    let stalled = upgraded(&server, "/ws/lobby").await;
    let mut ada = server.plain("/ws/lobby").await;
    let mut bob = server.plain("/ws/lobby").await;
    server
        .until("joining", |status| status.connections == 3)
        .await;
    let long = "x".repeat(50_000);
    let begin = Instant::now();
    let mut sent = 0_u64;
    while server.status().await.closed["slow_consumer"] == 0 {
        assert!(begin.elapsed() < PATIENCE, "after {sent} messages");
        ada.send(long.as_str()).await;
        for peer in [&mut ada, &mut bob] {
            assert_eq!(peer.next_text().await.len(), long.len());
        }
        sent += 1;
        let status = server.status().await;
        let limit = 256 * 1024 + 64 * 1024 + 50_100;
        assert!(status.feed_bytes <= limit, "{}", status.feed_bytes);
    }
    let status = server
        .until("leaving", |status| status.connections == 2)
        .await;
    assert_eq!(status.deliveries.pending, 0, "{:?}", status.deliveries);
    assert_eq!(status.deliveries.skipped, 0, "{:?}", status.deliveries);
    drop(stalled);
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_never_reads_its_answers_is_let_go() {
    let server = TestServer::start(config(|config| {
        config.limits.connections = Some(1);
        config.timeouts.write = Duration::from_millis(300);
    }))
    .await;
    let stream = server.raw().await;
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr).repeat(100);
    // Until neither side takes anything: the server's answers are in its way.
    let flooding = async {
        loop {
            match stream.try_write(request.as_bytes()) {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let more = tokio::time::timeout(Duration::from_millis(100), stream.writable());
                    if more.await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    };
    soon("a full connection", flooding).await;
    let served = async {
        loop {
            let mut next = server.raw().await;
            let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
            let _ = next.write_all(request.as_bytes()).await;
            if read_head(&mut next).await.starts_with("HTTP/1.1 200") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("a place for somebody else", served).await;
    server.stop().await;
}
