//! `/metrics`: that what is scraped is what happened, in a form that Prometheus reads.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use slabcast::{
    fanout::Fanout,
    id::RoomName,
    publication::{PayloadKind, Publication},
};
use support::{Response, ServerFrame, TestServer, config, read_head, soon, upgrade_request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One scrape: samples by name with labels, as they are written.
struct Scrape {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of<F: Fanout>(server: &TestServer<F>) -> Self {
        let text = ask(server, "GET", "").await.body;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        let samples = samples.collect();
        Self { text, samples }
    }

    #[track_caller]
    fn get(&self, sample: &str) -> f64 {
        match self.samples.get(sample) {
            Some(value) => *value,
            None => panic!("no {sample} in {}", self.text),
        }
    }

    /// The sum of all samples of one family.
    fn sum(&self, family: &str) -> f64 {
        let of_it = |name: &str| name.split('{').next() == Some(family);
        let samples = self.samples.iter().filter(|(name, _)| of_it(name));
        samples.map(|(_, value)| value).sum()
    }
}

async fn ask<F: Fanout>(server: &TestServer<F>, method: &str, headers: &str) -> Response {
    ask_for(server, method, "/metrics", headers).await
}

async fn ask_for<F: Fanout>(
    server: &TestServer<F>,
    method: &str,
    path: &str,
    headers: &str,
) -> Response {
    let mut stream = server.raw().await;
    let addr = server.addr;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    if method == "HEAD" {
        let head = support::read_head(&mut stream).await;
        let status = head[9..12].parse().unwrap();
        let body = String::new();
        return Response { status, head, body };
    }
    Response::read(&mut stream).await
}

/// A member that counts what comes out of its socket.
struct Counting {
    stream: TcpStream,
    frames: u64,
    /// From the head of the answer on: the session writes that too.
    bytes: u64,
    /// Of the head, where it was read by itself.
    head_bytes: u64,
}

impl Counting {
    async fn plain<F: Fanout>(server: &TestServer<F>) -> Self {
        let mut stream = server.raw().await;
        let request = upgrade_request("/ws/lobby", server.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let head_bytes = head.len() as u64;
        Self {
            stream,
            frames: 0,
            bytes: head_bytes,
            head_bytes,
        }
    }

    async fn sse<F: Fanout>(server: &TestServer<F>) -> Self {
        let mut stream = server.raw().await;
        let request = format!("GET /sse/lobby HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        Self {
            stream,
            frames: 0,
            bytes: 0,
            head_bytes: 0,
        }
    }

    async fn read_frames(&mut self, count: u64) {
        let mut buffer = Vec::new();
        while self.frames < count {
            let mut rest = &buffer[..];
            while ServerFrame::take(&mut rest).is_some() {
                self.frames += 1;
            }
            buffer.drain(..buffer.len() - rest.len());
            if self.frames < count {
                self.bytes += read_some(&mut self.stream, &mut buffer).await;
            }
        }
    }

    async fn read_events(&mut self, count: u64) {
        let mut buffer = Vec::new();
        while self.frames < count {
            self.bytes += read_some(&mut self.stream, &mut buffer).await;
            let text = str::from_utf8(&buffer).unwrap();
            let whole = text.rfind("\n\n").map_or(0, |end| end + 2);
            self.frames = text[..whole].matches("event: message\n").count() as u64;
        }
    }
}

async fn read_some(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> u64 {
    let read = soon("more", stream.read_buf(buffer)).await.unwrap();
    assert!(read > 0, "the stream has ended");
    read as u64
}

async fn what_is_scraped_is_what_the_clients_have_counted<F: Fanout>() {
    const COUNT: u64 = 500;
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.join_leave = false;
    }))
    .await;
    let mut plain = Vec::new();
    for _ in 0..3 {
        plain.push(Counting::plain(&server).await);
    }
    let mut events = vec![Counting::sse(&server).await, Counting::sse(&server).await];
    let mut sender = server.plain("/ws/lobby").await;
    server
        .until("joining", |status| status.subscriptions == 6)
        .await;
    for number in 0..COUNT {
        sender.send(format!("message {number}")).await;
    }
    for _ in 0..COUNT {
        sender.next().await;
    }
    for member in &mut plain {
        member.read_frames(COUNT).await;
    }
    for member in &mut events {
        member.read_events(COUNT).await;
    }
    server
        .until("quiet", |status| status.deliveries.pending == 0)
        .await;

    let scrape = Scrape::of(&server).await;
    let members = plain.iter().chain(&events);
    let heard: u64 = members.clone().map(|member| member.frames).sum::<u64>() + COUNT;
    let published = scrape.get("slabcast_messages_published_total");
    assert_eq!(published, COUNT as f64);
    assert_eq!(scrape.get("slabcast_frames_due_total"), heard as f64);
    assert_eq!(scrape.get("slabcast_frames_delivered_total"), heard as f64);
    assert_eq!(scrape.get("slabcast_frames_pending"), 0.0);
    assert_eq!(scrape.get("slabcast_connections"), 6.0);
    assert_eq!(scrape.get("slabcast_connections_opened_total"), 6.0);
    assert_eq!(scrape.get("slabcast_rooms"), 1.0);
    assert_eq!(scrape.get("slabcast_subscriptions"), 6.0);
    // The sender's frames are as long as everybody's: a header of two bytes, and the text.
    let of_sender = plain[0].bytes;
    let sent: u64 = members.map(|member| member.bytes).sum::<u64>() + of_sender;
    assert_eq!(scrape.get("slabcast_sent_bytes_total"), sent as f64);
    // And those that it has sent are masked besides.
    let received = of_sender - plain[0].head_bytes + 4 * COUNT;
    assert_eq!(scrape.get("slabcast_received_bytes_total"), received as f64);
    assert!(!scrape.text.contains("lobby"), "{}", scrape.text);
    server.stop().await;
}

async fn every_end_is_counted_once_and_the_accounts_add_up<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.room_defaults.lag_bytes = 256 * 1024;
    }))
    .await;
    let stalled = Counting::plain(&server).await;
    let events = Counting::sse(&server).await;
    let mut sender = server.plain("/ws/lobby").await;
    let payload = "x".repeat(32 * 1024);
    let mut sent = 0;
    while server.status().await.closed["slow_consumer"] < 1 {
        assert!(sent < 2_000, "nobody has noticed");
        sender.send(payload.clone()).await;
        sender.next().await;
        sent += 1;
    }
    drop((stalled, events));
    sender.stream.close(None).await.unwrap();
    server
        .until("all ends", |status| {
            status.connections == 0 && status.closed.values().sum::<u64>() == 3
        })
        .await;
    let scrape = Scrape::of(&server).await;
    assert!(scrape.get("slabcast_frames_discarded_total") > 0.0);
    let accounted = scrape.get("slabcast_frames_delivered_total")
        + scrape.get("slabcast_frames_skipped_total")
        + scrape.get("slabcast_frames_discarded_total")
        + scrape.get("slabcast_frames_pending");
    assert_eq!(scrape.get("slabcast_frames_due_total"), accounted);
    let closed = r#"slabcast_connections_closed_total{reason="peer_closed"}"#;
    assert!(scrape.get(closed) >= 1.0, "the sender");
    assert_eq!(scrape.sum("slabcast_connections_closed_total"), 3.0);
    assert_eq!(scrape.get("slabcast_connections_opened_total"), 3.0);
    assert_eq!(scrape.get("slabcast_connections"), 0.0);
    server.stop().await;
}

async fn requests_are_counted_by_route_and_code<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    for (method, path, status) in [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("POST", "/", 405),
        ("GET", "/assets/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/ws/some%20room", 426),
        ("GET", "/ws/other", 426),
        ("HEAD", "/sse/room", 200),
    ] {
        assert_eq!(ask_for(&server, method, path, "").await.status, status);
    }
    let _listener = Counting::sse(&server).await;
    let _member = Counting::plain(&server).await;
    server
        .until("joining", |status| status.subscriptions == 2)
        .await;
    let scrape = Scrape::of(&server).await;
    let requests: BTreeMap<_, _> = scrape
        .samples
        .iter()
        .filter(|(name, _)| name.starts_with("slabcast_http_requests_total"))
        .map(|(name, count)| (&name["slabcast_http_requests_total".len()..], *count))
        .collect();
    let wanted = BTreeMap::from([
        (r#"{route="/",code="200"}"#, 2.0),
        (r#"{route="/",code="405"}"#, 1.0),
        (r#"{route="/assets/{file}",code="404"}"#, 1.0),
        (r#"{route="none",code="404"}"#, 1.0),
        (r#"{route="/ws/{room}",code="426"}"#, 2.0),
        (r#"{route="/ws/{room}",code="101"}"#, 1.0),
        (r#"{route="/sse/{room}",code="200"}"#, 2.0),
    ]);
    assert_eq!(requests, wanted);
    server.stop().await;
}

async fn rooms_that_made_way_are_counted<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| config.limits.rooms = 2)).await;
    for room in ["a", "b", "c", "d", "e"] {
        let publication = Publication::new(PayloadKind::Text, Bytes::from_static(b"x"));
        let room = RoomName::parse(room).unwrap();
        let published = server.node.publish(&room, &mut vec![publication]).await;
        published.unwrap();
    }
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.get("slabcast_rooms_evicted_total"), 3.0);
    assert_eq!(scrape.get("slabcast_rooms"), 2.0);
    server.stop().await;
}

async fn both_forms_say_the_same_and_each_is_well_formed<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    // So that there is a sample of every family.
    ask_for(&server, "GET", "/healthz", "").await;
    let text = ask(&server, "GET", "").await;
    let content_type = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(text.header("content-type"), content_type);
    assert_eq!(text.header("cache-control"), Some("no-store"));
    // As Prometheus asks.
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3\r\n";
    let open = ask(&server, "GET", accept).await;
    let content_type = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(open.header("content-type"), content_type);
    assert!(open.body.ends_with("\n# EOF\n"));
    let head = ask(&server, "HEAD", "").await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, text.header("content-type"))
    );
    assert_eq!(ask(&server, "POST", "").await.status, 405);

    let names = |body: &str| -> BTreeSet<String> {
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        let names = samples.filter_map(|line| line.split(['{', ' ']).next());
        names.map(str::to_owned).collect()
    };
    assert_eq!(names(&text.body), names(&open.body));
    // Whatever has samples is announced before them, by the very same name.
    let mut announced = BTreeSet::new();
    for line in text.body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(announced.insert(name), "{name} twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(announced.contains(name), "{line}");
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let build = format!(
        "slabcast_build_info{{version=\"{version}\",engine=\"{}\"}} 1",
        F::NAME
    );
    assert!(text.body.contains(&build), "{}", text.body);
    if cfg!(target_os = "linux") {
        for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds"] {
            assert!(announced.contains(&*format!("process_{name}")), "{name}");
        }
    }
    server.stop().await;
}

on_every_engine! {
    what_is_scraped_is_what_the_clients_have_counted,
    every_end_is_counted_once_and_the_accounts_add_up,
    requests_are_counted_by_route_and_code,
    rooms_that_made_way_are_counted,
    both_forms_say_the_same_and_each_is_well_formed,
}
