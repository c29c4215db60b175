//! `/sse/{room}`: server-sent events over real sockets, read as WHATWG HTML 9.2.6 says.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use slabcast::{
    config::SlowPolicy,
    fanout::Fanout,
    id::RoomName,
    publication::{PayloadKind, Publication},
};
use support::{Response, TestServer, config, read_head, read_to_end, soon};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;

const KIB: usize = 1024;

/// One dispatched event, or a notice that none was.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Event {
        name: String,
        data: String,
    },
    /// A block without data: it can set the id, and nothing happens.
    Silent,
    Comment(String),
}

/// What a client makes of a stream: blocks up to an empty line, and the id that it remembers.
#[derive(Debug, Default)]
struct Reader {
    bytes: Vec<u8>,
    last_id: String,
}

impl Reader {
    /// The next block, once it is there whole.
    fn take(&mut self) -> Option<Heard> {
        let end = self.bytes.windows(2).position(|two| two == b"\n\n")?;
        let block: Vec<_> = self.bytes.drain(..end + 2).collect();
        let block = String::from_utf8(block).unwrap();
        assert!(!block.contains('\r'), "would end a line: {block:?}");
        let (mut name, mut data, mut comment) = (String::new(), None::<String>, None);
        for line in block.trim_end_matches('\n').split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => comment = Some(value.to_owned()),
                "id" => value.clone_into(&mut self.last_id),
                "event" => value.clone_into(&mut name),
                "data" => {
                    data = Some(match data {
                        Some(before) => format!("{before}\n{value}"),
                        None => value.to_owned(),
                    });
                }
                "retry" => assert_eq!(value, "3000"),
                other => panic!("a field that there is not: {other:?} in {block:?}"),
            }
        }
        Some(match (data, comment) {
            (Some(data), None) => Heard::Event { name, data },
            (None, Some(comment)) => Heard::Comment(comment),
            (None, None) => Heard::Silent,
            (Some(_), Some(_)) => panic!("a comment inside of an event: {block:?}"),
        })
    }
}

/// A listener.
struct Listener {
    stream: TcpStream,
    head: String,
    reader: Reader,
}

impl Listener {
    async fn open<F: Fanout>(server: &TestServer<F>, path: &str, last_event_id: &str) -> Self {
        Self::open_on(server, server.raw().await, path, last_event_id).await
    }

    async fn open_on<F: Fanout>(
        server: &TestServer<F>,
        mut stream: TcpStream,
        path: &str,
        last_event_id: &str,
    ) -> Self {
        let header = match last_event_id {
            "" => String::new(),
            id => format!("Last-Event-ID: {id}\r\n"),
        };
        let request = request(server, "GET", path, &header);
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let mut listener = Self {
            stream,
            head,
            reader: Reader::default(),
        };
        assert_eq!(listener.next().await, Heard::Silent, "the opening");
        listener
    }

    async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.reader.take() {
                return heard;
            }
            let read = soon("a block", self.stream.read_buf(&mut self.reader.bytes)).await;
            assert!(read.unwrap() > 0, "the stream has ended");
        }
    }

    /// The next event that is neither a join nor a leave.
    async fn event(&mut self) -> (String, String) {
        loop {
            match self.next().await {
                Heard::Event { name, .. } if name == "join" || name == "leave" => {}
                Heard::Event { name, data } => return (name, data),
                Heard::Silent => panic!("a second opening"),
                Heard::Comment(_) => {}
            }
        }
    }

    async fn message(&mut self) -> String {
        let (name, data) = self.event().await;
        assert_eq!(name, "message", "{data}");
        data
    }

    async fn gap(&mut self) -> Value {
        let (name, data) = self.event().await;
        assert_eq!(name, "gap", "{data}");
        let gap: Value = serde_json::from_str(&data).unwrap();
        gap["skipped"].clone()
    }

    /// Everything up to the end of the stream, which must not be cut off.
    async fn rest(mut self) -> Vec<Heard> {
        self.reader
            .bytes
            .extend(read_to_end(&mut self.stream).await);
        let heard: Vec<_> = std::iter::from_fn(|| self.reader.take()).collect();
        let torn = String::from_utf8_lossy(&self.reader.bytes);
        assert_eq!(torn, "", "torn off");
        heard
    }

    fn offset(&self) -> u64 {
        let (_, offset) = self.reader.last_id.split_once(':').unwrap();
        offset.parse().unwrap()
    }

    fn epoch(&self) -> &str {
        self.reader.last_id.split_once(':').unwrap().0
    }
}

fn request<F: Fanout>(server: &TestServer<F>, method: &str, path: &str, headers: &str) -> String {
    let addr = server.addr;
    format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\n{headers}\r\n")
}

/// The answer to a request that is refused, or that has only a head.
async fn answer<F: Fanout>(server: &TestServer<F>, request: String) -> Response {
    let mut stream = server.raw().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    Response::read(&mut stream).await
}

fn text(payload: impl Into<Bytes>) -> Publication {
    Publication::new(PayloadKind::Text, payload.into())
}

async fn publish<F: Fanout>(server: &TestServer<F>, publication: Publication) {
    let lobby = RoomName::parse("lobby").unwrap();
    server
        .node
        .publish(&lobby, &mut vec![publication])
        .await
        .unwrap();
}

async fn narrow_socket<F: Fanout>(server: &TestServer<F>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(192 * KIB as u32).unwrap();
    socket.connect(server.addr).await.unwrap()
}

async fn a_listener_hears_every_kind_of_message_with_its_place_in_history<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    let mut listener = Listener::open(&server, "/sse/lobby", "").await;
    for header in [
        "content-type: text/event-stream",
        "cache-control: no-store",
        "x-accel-buffering: no",
        "x-content-type-options: nosniff",
    ] {
        assert!(listener.head.contains(header), "{}", listener.head);
    }
    assert_eq!(listener.offset(), 0, "the opening says where to resume");
    let mut plain = server.plain("/ws/lobby").await;
    let mut centrifugo = server.centrifugo("eve").await;
    for (sent, heard) in [
        ("hello", "hello"),
        ("", ""),
        (" two\nlines\n", " two\nlines\n"),
        ("cr\rcrlf\r\nend", "cr\ncrlf\nend"),
        ("evil\rid: x:9\revent: gap", "evil\nid: x:9\nevent: gap"),
        ("é 漢 🦀 \u{202e}\0:", "é 漢 🦀 \u{202e}\0:"),
    ] {
        plain.send(sent).await;
        assert_eq!(listener.message().await, heard);
    }
    plain
        .send(Message::Binary(Bytes::from_static(&[1, 2])))
        .await;
    assert_eq!(listener.message().await, r#"{"b64":"AQI="}"#);
    for (data, heard) in [
        (r#""tea?\n""#, "tea?\n"),
        ("{\"b\": 1.0,\n\"a\":2}", "{\"b\": 1.0,\n\"a\":2}"),
    ] {
        let lobby = json!({"id": 2, "subscribe": {"channel": "lobby"}});
        centrifugo.send_json(lobby).await;
        let json = Publication {
            kind: PayloadKind::Json,
            ..text(data)
        };
        publish(&server, json).await;
        assert_eq!(listener.message().await, heard);
    }
    assert_eq!(listener.offset(), 9);
    server.stop().await;
}

async fn a_listener_is_a_member_whom_others_see_come_and_go<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    let mut ada = Listener::open(&server, "/sse/lobby?uid=ada", "").await;
    let mut hear = async |name: &str, user: &str| {
        let Heard::Event { name: is, data } = ada.next().await else {
            panic!("instead of {name}");
        };
        let info: Value = serde_json::from_str(&data).unwrap();
        assert_eq!((&*is, &info["user"]), (name, &json!(user)));
    };
    hear("join", "ada").await;
    let bob = Listener::open(&server, "/sse/lobby?uid=bob", "").await;
    hear("join", "bob").await;
    let status = server.status().await;
    assert_eq!((status.connections, status.users), (2, 2));
    drop(bob);
    hear("leave", "bob").await;
    drop(ada);
    server
        .until("leaving", |status| {
            let is_empty = status.connections == 0 && status.num_rooms == 0;
            // Who has left something unread resets the connection.
            let left = status.closed["peer_closed"] + status.closed["peer_gone"];
            is_empty && left == 2
        })
        .await;
    server.stop().await;
}

async fn a_listener_that_is_cut_off_again_and_again_misses_nothing_and_hears_nothing_twice<
    F: Fanout,
>() {
    const COUNT: usize = 4_000;
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.history_size = COUNT;
    }))
    .await;
    let node = server.node.clone();
    let publisher = tokio::spawn(async move {
        let lobby = RoomName::parse("lobby").unwrap();
        for number in 1..=COUNT {
            // Two lines, so that a cut between them would show.
            let publication = text(format!("{number}\n{number}"));
            node.publish(&lobby, &mut vec![publication]).await.unwrap();
            if number % 16 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let (mut id, mut heard, mut streams) = (String::new(), 0, 0);
    while heard < COUNT {
        // `since` stays in the address, and what was heard goes before it.
        let path = "/sse/lobby?since=0";
        let mut listener = Listener::open(&server, path, &id).await;
        streams += 1;
        for _ in 0..fastrand::usize(1..400).min(COUNT - heard) {
            let message = listener.message().await;
            heard += 1;
            assert_eq!(message, format!("{heard}\n{heard}"));
            assert_eq!(listener.offset(), heard as u64);
        }
        id = listener.reader.last_id.clone();
    }
    assert!(streams > 5, "{streams}");
    publisher.await.unwrap();
    server.stop().await;
}

async fn what_skips_history_is_heard_and_does_not_move_the_place<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    let fleeting = || Publication {
        skips_history: true,
        ..text("now or never")
    };
    let mut listener = Listener::open(&server, "/sse/lobby", "").await;
    for (publication, offset) in [(fleeting(), 0), (text("kept"), 1), (fleeting(), 1)] {
        let wanted = publication.payload.clone();
        publish(&server, publication).await;
        assert_eq!(listener.message().await, wanted);
        assert_eq!(listener.offset(), offset);
    }
    let mut resumed = Listener::open(&server, "/sse/lobby", &listener.reader.last_id).await;
    publish(&server, text("next")).await;
    assert_eq!(resumed.message().await, "next", "no gap and no duplicate");
    assert_eq!(resumed.offset(), 2);
    server.stop().await;
}

async fn what_is_not_there_any_more_is_a_gap_before_everything_else<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.history_size = 2;
    }))
    .await;
    let first = Listener::open(&server, "/sse/lobby", "").await;
    let epoch = first.epoch().to_owned();
    for number in 1..=5 {
        publish(&server, text(number.to_string())).await;
    }
    let null = Value::Null;
    for (since, id, gap, messages) in [
        ("", format!("{epoch}:5"), None, &[][..]),
        ("", format!("{epoch}:3"), None, &["4", "5"]),
        ("", format!("{epoch}:1"), Some(json!(2)), &["4", "5"]),
        ("", format!("{epoch}:9"), Some(null.clone()), &[]),
        ("", "another:5".to_owned(), Some(null), &["4", "5"]),
        ("?since=start", format!("{epoch}:4"), None, &["5"]),
        ("?since=start", String::new(), None, &["4", "5"]),
        ("?since=1", String::new(), Some(json!(2)), &["4", "5"]),
        ("?since=now", String::new(), None, &[]),
    ] {
        let mut late = Listener::open(&server, &format!("/sse/lobby{since}"), &id).await;
        let begin = 5 - messages.len() as u64;
        assert_eq!((late.epoch(), late.offset()), (&*epoch, begin), "{id}");
        if let Some(gap) = gap {
            assert_eq!(late.gap().await, gap, "{id}");
        }
        for message in messages {
            assert_eq!(late.message().await, *message, "{id}");
        }
        let next = late.next().await;
        assert!(
            matches!(&next, Heard::Event { name, .. } if name == "join"),
            "the past ends with its own coming, {since} {id}: {next:?}"
        );
    }
    server.stop().await;
}

async fn a_room_without_history_gives_no_ids_and_admits_what_it_cannot_know<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.history_size = 0;
    }))
    .await;
    let mut listener = Listener::open(&server, "/sse/lobby", "abc:3").await;
    assert_eq!(listener.gap().await, Value::Null);
    publish(&server, text("now")).await;
    assert_eq!(listener.message().await, "now");
    assert_eq!(listener.reader.last_id, "");
    server.stop().await;
}

async fn a_stalled_listener_costs_nobody_anything_and_is_closed_as_slow<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.lag_bytes = 256 * KIB;
        config.room_defaults.history_size = 0;
        config.timeouts.close = support::PATIENCE;
    }))
    .await;
    let stalled = Listener::open_on(&server, narrow_socket(&server).await, "/sse/lobby", "").await;
    let mut healthy = Listener::open(&server, "/sse/lobby", "").await;
    let payload = "x".repeat(16 * KIB);
    let mut published = 0;
    while server.status().await.closed["slow_consumer"] == 0 && published < 4_000 {
        publish(&server, text(payload.clone())).await;
        assert_eq!(healthy.message().await, payload);
        published += 1;
        let status = server.status().await;
        assert!(status.feed_bytes < 300 * KIB, "{}", status.feed_bytes);
        if status.rooms[0].clients == 1 {
            break;
        }
    }
    // What was begun is finished, and then comes the reason.
    let rest = stalled.rest().await;
    let Some((Heard::Comment(reason), before)) = rest.split_last() else {
        panic!("{:?}", rest.last());
    };
    assert!(reason.starts_with("slow: "), "{reason}");
    let got = before.iter().filter(|heard| {
        matches!(heard, Heard::Event { name, data } if name == "message" && *data == payload)
    });
    let got = got.count() as u64;
    let status = server
        .until("the end", |status| status.closed["slow_consumer"] == 1)
        .await;
    let deliveries = status.deliveries;
    assert_eq!(
        deliveries.due,
        deliveries.delivered + deliveries.skipped + deliveries.discarded + deliveries.pending
    );
    assert!(got > 0 && deliveries.discarded > 0, "{got} {deliveries:?}");
    // Joins: two at the healthy one, one or two at the other; and one leave.
    let messages = published + got;
    assert!(
        (messages..=messages + 5).contains(&deliveries.delivered),
        "{messages} {deliveries:?}"
    );
    drop(healthy);
    server.stop().await;
}

async fn a_listener_that_skips_is_told_how_many<F: Fanout>() {
    const COUNT: u64 = 3_000;
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.lag_bytes = 256 * KIB;
        config.room_defaults.history_size = 0;
        config.room_defaults.join_leave = false;
        config.room_defaults.slow = SlowPolicy::Skip;
        config.timeouts.write = Duration::from_secs(600);
    }))
    .await;
    let mut slow = Listener::open_on(&server, narrow_socket(&server).await, "/sse/lobby", "").await;
    let padding = "x".repeat(8 * KIB);
    for number in 1..=COUNT {
        publish(&server, text(format!("{number} {padding}"))).await;
        if number % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    server
        .until("skipping", |status| status.deliveries.skipped > 0)
        .await;
    let mut accounted = 0;
    while accounted < COUNT {
        match slow.event().await {
            (name, data) if name == "gap" => {
                let gap: Value = serde_json::from_str(&data).unwrap();
                accounted += gap["skipped"].as_u64().unwrap();
            }
            (_, message) => {
                accounted += 1;
                let (number, rest) = message.split_once(' ').unwrap();
                assert_eq!(number, accounted.to_string(), "in its place behind the gap");
                assert_eq!(rest, padding);
            }
        }
    }
    assert_eq!(accounted, COUNT, "and none twice");
    server.stop().await;
}

async fn a_drain_delivers_what_was_published_and_waits_for_no_stalled_listener<F: Fanout>() {
    let mut server = TestServer::<F>::on_engine(config(|_| ())).await;
    let listener = Listener::open(&server, "/sse/lobby", "").await;
    let idle = Listener::open(&server, "/sse/garden", "").await;
    let mut stalled =
        Listener::open_on(&server, narrow_socket(&server).await, "/sse/full", "").await;
    let full = RoomName::parse("full").unwrap();
    let mut batch = vec![text("x".repeat(32 * KIB)); 200];
    server.node.publish(&full, &mut batch).await.unwrap();
    for number in 1..=500 {
        publish(&server, text(number.to_string())).await;
    }
    let start = Instant::now();
    server.begin_drain();
    let rest = listener.rest().await;
    let wanted = (1..=500).map(|number| Heard::Event {
        name: "message".to_owned(),
        data: number.to_string(),
    });
    let heard: Vec<_> = rest
        .iter()
        .filter(|heard| !matches!(heard, Heard::Event { name, .. } if name != "message"))
        .cloned()
        .collect();
    let end = Heard::Comment("shutdown".to_owned());
    assert_eq!(heard, Vec::from_iter(wanted.chain([end.clone()])));
    assert_eq!(idle.rest().await.pop(), Some(end));
    server.drained().await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(server.node.sessions(), 0);
    // It is still there, and was not waited for.
    assert!(stalled.stream.read_u8().await.is_ok());
}

async fn an_idle_stream_has_comments_and_needs_no_answer<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.timeouts.ping = Duration::from_millis(100);
        config.timeouts.pong = Duration::from_millis(50);
    }))
    .await;
    let mut listener = Listener::open(&server, "/sse/lobby", "").await;
    let mut comments = 0;
    while comments < 5 {
        if listener.next().await == Heard::Comment(String::new()) {
            comments += 1;
        }
    }
    // What it says behind its request is nobody's affair.
    let garbage = vec![b'x'; 100 * KIB];
    listener.stream.write_all(&garbage).await.unwrap();
    publish(&server, text("still there")).await;
    assert_eq!(listener.message().await, "still there");
    assert_eq!(server.status().await.closed["no_pong"], 0);
    server.stop().await;
}

async fn a_listener_that_cannot_be_let_in_is_told_why<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.limits.rooms = 1;
        config.allowed_origins = vec!["https://app.example.org".to_owned()];
    }))
    .await;
    for (path, header, status) in [
        ("/sse/lobby", "Last-Event-ID: nonsense\r\n", 400),
        (
            "/sse/lobby",
            "Last-Event-ID: a:1\r\nLast-Event-ID: a:2\r\n",
            400,
        ),
        ("/sse/lobby?since=yesterday", "", 400),
        ("/sse/%ff", "", 400),
        ("/sse/lobby", "Origin: http://evil.example\r\n", 403),
        ("/sse/lobby", "Origin: null\r\n", 403),
        ("/sse/dialog%2342,43?uid=44", "", 403),
        ("/sse/", "", 404),
    ] {
        let response = answer(&server, request(&server, "GET", path, header)).await;
        assert_eq!(response.status, status, "{path} {header}");
        response.error_message();
    }
    let response = answer(&server, request(&server, "POST", "/sse/lobby", "")).await;
    assert_eq!(
        (response.status, response.header("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(server.status().await.num_rooms, 0, "nobody came into being");

    let own = Listener::open(&server, "/sse/dialog%2342,43?uid=43", "").await;
    let response = answer(&server, request(&server, "GET", "/sse/another", "")).await;
    assert_eq!(
        (response.status, response.header("retry-after")),
        (503, Some("5"))
    );
    assert!(response.error_message().contains("limits.rooms"));
    server
        .until("counting", |status| {
            status.closed["refused"] == 1 && status.connections == 1
        })
        .await;
    drop(own);
    server.stop().await;
}

async fn a_head_is_the_same_as_of_the_stream_and_opens_none<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.allowed_origins = vec!["https://app.example.org".to_owned()];
    }))
    .await;
    let mut stream = server.raw().await;
    let origin = "Origin: https://app.example.org\r\n";
    for _ in 0..2 {
        let request = request(&server, "HEAD", "/sse/lobby", origin);
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        for line in [
            "HTTP/1.1 200 OK",
            "content-type: text/event-stream",
            "access-control-allow-origin: https://app.example.org",
        ] {
            assert!(head.contains(line), "{head}");
        }
        assert!(!head.contains("content-length"), "{head}");
    }
    assert_eq!(server.status().await.num_rooms, 0);
    server.stop().await;
}

async fn a_stream_follows_what_was_asked_for_before_it_and_an_old_client_gets_it_too<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    // More than the kernel takes, so that the last answers wait in the server when the stream's turn
    // comes. The peer reads all the time, and never as fast as it is written to.
    const BEFORE: usize = 800;
    let page = request(&server, "GET", "/assets/style.css", "");
    let all = page.repeat(BEFORE) + &request(&server, "GET", "/sse/lobby", "");
    let (mut reading, mut writing) = narrow_socket(&server).await.into_split();
    let writer = tokio::spawn(async move {
        writing.write_all(all.as_bytes()).await.unwrap();
        writing
    });
    let mut bytes = Vec::new();
    let opening = b"retry: 3000\n";
    while !bytes.ends_with(b"\n\n") || !bytes.windows(opening.len()).any(|at| at == opening) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut part = vec![0; 16 * KIB];
        let read = soon("more", reading.read(&mut part)).await.unwrap();
        assert!(read > 0, "the connection has ended");
        bytes.drain(..bytes.len().saturating_sub(64 * KIB));
        bytes.extend(&part[..read]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let (before, stream) = text.rsplit_once("HTTP/1.1 200 OK\r\n").unwrap();
    assert!(stream.contains("text/event-stream"), "{stream}");
    // The answer before it is whole.
    let (_, last) = before.rsplit_once("HTTP/1.1 200 OK\r\n").unwrap();
    let (head, body) = last.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}\r\n", body.len())),
        "{head}"
    );
    let _writing = writer.await.unwrap();

    let mut old = server.raw().await;
    let request = format!("GET /sse/lobby HTTP/1.0\r\nHost: {}\r\n\r\n", server.addr);
    old.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut old).await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    server.until("both", |status| status.connections == 2).await;
    server.stop().await;
}

async fn a_listener_holds_its_connection_s_place_until_it_ends<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.limits.connections = Some(1);
    }))
    .await;
    let listener = Listener::open(&server, "/sse/lobby", "").await;
    let refused = answer(&server, request(&server, "GET", "/healthz", "")).await;
    assert_eq!(refused.status, 503);
    drop(listener);
    let freed = async {
        while answer(&server, request(&server, "GET", "/healthz", ""))
            .await
            .status
            != 200
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("its place", freed).await;
    server.stop().await;
}

on_every_engine! {
    a_listener_hears_every_kind_of_message_with_its_place_in_history,
    a_listener_is_a_member_whom_others_see_come_and_go,
    a_listener_that_is_cut_off_again_and_again_misses_nothing_and_hears_nothing_twice,
    what_skips_history_is_heard_and_does_not_move_the_place,
    what_is_not_there_any_more_is_a_gap_before_everything_else,
    a_room_without_history_gives_no_ids_and_admits_what_it_cannot_know,
    a_stalled_listener_costs_nobody_anything_and_is_closed_as_slow,
    a_listener_that_skips_is_told_how_many,
    a_drain_delivers_what_was_published_and_waits_for_no_stalled_listener,
    an_idle_stream_has_comments_and_needs_no_answer,
    a_listener_that_cannot_be_let_in_is_told_why,
    a_head_is_the_same_as_of_the_stream_and_opens_none,
    a_stream_follows_what_was_asked_for_before_it_and_an_old_client_gets_it_too,
    a_listener_holds_its_connection_s_place_until_it_ends,
}
