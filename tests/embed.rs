//! The server in a program of somebody else's: own hooks and own routes beside ours.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json, value::RawValue};
use slabcast::{
    config::{Config, SubscribeRight},
    fanout::{Fanout, Pace},
    id::{RoomName, UserId},
    node::{AccessError, Arrival, Grant, Hooks, Identity, Node, RpcError, Wish},
    publication::{ClientInfo, PayloadKind, Publication},
    server::{
        PathParameters, Peer as From, ServeError, Server,
        http::{Method, Request, Response, StatusCode},
    },
};
use support::{Peer, Response as Answer, TestServer, config, soon, upgrade_request};
use tokio::{
    io::AsyncWriteExt as _,
    sync::{Notify, mpsc},
};

/// Decides by what stands in the request or in a name, and tells the test what it was asked.
struct House {
    told: mpsc::UnboundedSender<String>,
    /// How often it was asked who may be where.
    wishes: Arc<AtomicUsize>,
    /// What a hook waits for.
    go_on: Arc<Notify>,
}

impl House {
    /// A test may have ended before its server has.
    fn tell(&self, what: String) {
        let _ = self.told.send(what);
    }
}

fn named(user: &str) -> Identity {
    Identity {
        info: Some(r#"{"by":"house"}"#.into()),
        ..Identity::of(UserId::parse(user).unwrap())
    }
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

impl<F: Fanout> Hooks<F> for House {
    async fn connect(
        &self,
        node: &Arc<Node<F>>,
        arrival: Arrival<'_>,
    ) -> Result<Option<Identity>, AccessError> {
        // Whatever is awaited in a hook, the connection waits for.
        node.status(0).await;
        assert!(arrival.head.peer.ip().is_loopback());
        let cookie = arrival.head.headers.get("cookie");
        let data = arrival.data.map(RawValue::get);
        match (cookie.map(|cookie| cookie.to_str().unwrap()), data) {
            (Some("user=later"), _) => Err(AccessError::Unavailable("no database".to_owned())),
            (Some("user=none"), _) => Err(AccessError::Forbidden("not you".to_owned())),
            (Some(cookie), _) => Ok(Some(named(cookie.strip_prefix("user=").unwrap()))),
            (None, Some(r#"{"as":"data"}"#)) => Ok(Some(named("data"))),
            (None, Some("\"broken info\"")) => Ok(Some(Identity {
                info: Some("{not JSON".into()),
                ..named("broken")
            })),
            (None, _) => Ok(None),
        }
    }

    async fn subscribe(
        &self,
        _: &Arc<Node<F>>,
        wish: Wish<'_>,
    ) -> Result<Option<Grant>, AccessError> {
        self.wishes.fetch_add(1, Ordering::Relaxed);
        let name = wish.room.as_str();
        match name.split_once('-') {
            Some(("closed", _)) => Err(AccessError::Forbidden(format!("{name} is closed"))),
            Some(("of", user)) if user == wish.user.as_str() => Ok(Some(Grant {
                info: Some(r#"{"right":"own"}"#.into()),
                expiry: None,
            })),
            None if name == "#bob" => Ok(Some(Grant::default())),
            Some(("data", _)) if wish.data.map(RawValue::get) == Some("7") => {
                Ok(Some(Grant::default()))
            }
            _ => Ok(None),
        }
    }

    async fn publish(
        &self,
        _: &Arc<Node<F>>,
        client: &ClientInfo,
        room: &RoomName,
        publication: Publication,
    ) -> Result<Option<Publication>, AccessError> {
        match &publication.payload[..] {
            b"forbidden" | b"\"forbidden\"" => {
                Err(AccessError::Forbidden("one doesn't say that".to_owned()))
            }
            b"nothing" | b"\"nothing\"" => Ok(None),
            payload => {
                let said = str::from_utf8(payload).unwrap().trim_matches('"');
                let text = format!("\"{said}, says {} in {room}\"", client.user.as_str());
                self.tell(format!("publish {said}"));
                Ok(Some(Publication {
                    kind: PayloadKind::Json,
                    payload: text.into(),
                    ..publication
                }))
            }
        }
    }

    async fn rpc(
        &self,
        node: &Arc<Node<F>>,
        client: &ClientInfo,
        method: &str,
        data: Option<&RawValue>,
    ) -> Result<Box<RawValue>, RpcError> {
        match method {
            "who" => {
                let answer = json!({"user": client.user.as_str(), "asked": data}).to_string();
                Ok(RawValue::from_string(answer).unwrap())
            }
            "wait" => {
                self.tell("waiting".to_owned());
                self.go_on.notified().await;
                Ok(RawValue::from_string("null".to_owned()).unwrap())
            }
            "lines" => Ok(RawValue::from_string("[\n1,\r\n2]".to_owned()).unwrap()),
            "shout" => {
                let publication = Publication::text("shouted");
                node.publish_one(&room("hall"), publication).await.unwrap();
                Ok(RawValue::from_string("null".to_owned()).unwrap())
            }
            "broken" => Err(RpcError {
                code: 1234,
                message: "it is broken".to_owned(),
            }),
            other => Err(RpcError::no_such_method(other)),
        }
    }

    async fn joined(&self, _: &Arc<Node<F>>, client: &ClientInfo, room: &RoomName) {
        let line = format!("{} joined {room}", client.user.as_str());
        self.tell(line);
    }

    async fn left(&self, node: &Arc<Node<F>>, client: &ClientInfo, room: &RoomName) {
        let is_there = node
            .presence(room)
            .await
            .iter()
            .any(|info| info.client == client.client);
        let line = format!("{} left {room}, is there: {is_there}", client.user.as_str());
        self.tell(line);
        assert_ne!(room.as_str(), "panics", "a bug of the embedder's");
    }
}

type Told = mpsc::UnboundedReceiver<String>;

async fn house<F: Fanout>(config: Config) -> (TestServer<F>, Told) {
    let (server, heard, _) = counting_house(config).await;
    (server, heard)
}

async fn counting_house<F: Fanout>(config: Config) -> (TestServer<F>, Told, Arc<AtomicUsize>) {
    let (told, heard) = mpsc::unbounded_channel();
    let wishes = Arc::new(AtomicUsize::new(0));
    let hooks = House {
        told,
        wishes: wishes.clone(),
        go_on: Arc::default(),
    };
    let builder = Server::<F>::builder(config).hooks(hooks);
    (TestServer::of(builder.bind().await.unwrap()), heard, wishes)
}

async fn told(heard: &mut Told) -> String {
    soon("a hook", heard.recv()).await.unwrap()
}

/// Sends a request, and reads the head of the answer or all of it.
async fn ask<F: Fanout>(server: &TestServer<F>, request: &str) -> Answer {
    let mut stream = server.raw().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    Answer::read(&mut stream).await
}

fn with_header(request: &str, line: &str) -> String {
    request.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1)
}

/// A Centrifugo connection that came with a cookie.
async fn with_cookie<F: Fanout>(server: &TestServer<F>, user: &str) -> Peer {
    let mut peer = Peer::connect_with(
        server.addr,
        "/connection/websocket",
        Some(("cookie", &format!("user={user}"))),
    )
    .await;
    let answer = peer.ask(json!({"id": 1, "connect": {}})).await;
    assert!(answer["connect"].is_object(), "{answer}");
    peer
}

async fn a_hook_says_who_connects<F: Fanout>() {
    // Without the hook nobody could, for there is nothing to prove it by.
    let config = config(|config| config.anonymous = Some(false));
    let (server, mut heard) = house::<F>(config).await;
    let mut ann = with_cookie(&server, "ann").await;
    assert_eq!(told(&mut heard).await, "ann joined #ann");
    let who = ann
        .ask(json!({"id": 2, "rpc": {"method": "who", "data": [1]}}))
        .await;
    assert_eq!(who["rpc"]["data"], json!({"user": "ann", "asked": [1]}));

    let path = "/connection/websocket";
    // What everybody would be shown must be such that everybody can read it.
    let mut broken = Peer::connect(server.addr, path).await;
    let connect = json!({"id": 1, "connect": {"data": "broken info"}});
    broken.send_json(connect).await;
    assert_eq!(broken.close_code().await, 3507);

    let mut peer = Peer::connect(server.addr, path).await;
    let connect = json!({"id": 1, "connect": {"data": {"as": "data"}}});
    let raw = connect.to_string();
    peer.send(raw).await;
    assert!(peer.next_json().await["connect"].is_object());

    let mut stranger = Peer::connect(server.addr, path).await;
    stranger.send_json(json!({"id": 1, "connect": {}})).await;
    assert_eq!(stranger.close_code().await, 3500);
    let mut refused = Peer::connect_with(server.addr, path, Some(("cookie", "user=none"))).await;
    refused.send_json(json!({"id": 1, "connect": {}})).await;
    let frame = refused.close_frame().await;
    assert!(frame.reason.contains("not you"), "{frame:?}");

    // What fails at present does not send anybody away for good.
    let mut later = Peer::connect_with(server.addr, path, Some(("cookie", "user=later"))).await;
    later.send_json(json!({"id": 1, "connect": {}})).await;
    assert_eq!(later.close_code().await, 3004);
    let plain = with_header(
        &upgrade_request("/ws/hall", server.addr),
        "cookie: user=later",
    );
    assert_eq!(ask(&server, &plain).await.status, 503);
    let plain = with_header(
        &upgrade_request("/ws/hall", server.addr),
        "cookie: user=none",
    );
    let answer = ask(&server, &plain).await;
    assert_eq!(
        (answer.status, answer.error_message().as_str()),
        (403, "not you")
    );
    let plain = with_header(
        &upgrade_request("/ws/hall", server.addr),
        "cookie: user=bob",
    );
    assert_eq!(ask(&server, &plain).await.status, 101);
    assert_eq!(told(&mut heard).await, "data joined #data");
    assert_eq!(told(&mut heard).await, "bob joined hall");
}

async fn a_hook_says_who_may_be_where<F: Fanout>() {
    let config = config(|config| config.room_defaults.subscribe = SubscribeRight::Token);
    let (server, _heard) = house::<F>(config).await;
    let mut ann = with_cookie(&server, "ann").await;
    let subscribe = |id: u32, channel: &str| json!({"id": id, "subscribe": {"channel": channel}});
    let closed = ann.ask(subscribe(2, "closed-1")).await;
    assert_eq!(closed["error"]["code"], 103, "{closed}");
    let message = closed["error"]["message"].as_str().unwrap();
    assert!(message.contains("closed-1 is closed"), "{message}");
    let other = ann.ask(subscribe(3, "of-bob")).await;
    assert_eq!(
        other["error"]["code"], 103,
        "the room's own right stands: {other}"
    );
    let own = ann.ask(subscribe(4, "of-ann")).await;
    assert!(own["subscribe"].is_object(), "{own}");
    let presence = ann
        .ask(json!({"id": 5, "presence": {"channel": "of-ann"}}))
        .await;
    let (_, info) = presence["presence"]["presence"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    assert_eq!(info["conn_info"], json!({"by": "house"}));
    assert_eq!(info["chan_info"], json!({"right": "own"}));
    let data = json!({"id": 6, "subscribe": {"channel": "data-1", "data": 7}});
    assert!(ann.ask(data).await["subscribe"].is_object());
    // Who may not be there may not look either, nor publish from outside.
    let history = ann
        .ask(json!({"id": 7, "history": {"channel": "closed-1"}}))
        .await;
    assert_eq!(history["error"]["code"], 103, "{history}");
    let publish = json!({"id": 8, "publish": {"channel": "closed-1", "data": 1}});
    assert_eq!(ann.ask(publish).await["error"]["code"], 103);

    for (path, status) in [
        ("/ws/of-ann", 101),
        ("/ws/of-bob", 403),
        ("/ws/closed-1", 403),
    ] {
        let request = with_header(&upgrade_request(path, server.addr), "cookie: user=ann");
        assert_eq!(ask(&server, &request).await.status, status, "{path}");
    }
    let listen = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\ncookie: user=ann\r\n\r\n",
            server.addr
        )
    };
    let mut stream = server.raw().await;
    stream
        .write_all(listen("/sse/of-ann").as_bytes())
        .await
        .unwrap();
    assert!(
        support::read_head(&mut stream)
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(ask(&server, &listen("/sse/closed-1")).await.status, 403);
}

async fn a_hook_says_what_becomes_of_a_publication<F: Fanout>() {
    let (server, mut heard) = house::<F>(config(|_| ())).await;
    let mut plain = server.plain("/ws/hall").await;
    assert_eq!(told(&mut heard).await, " joined hall");
    plain.send("nothing").await;
    plain.send("hello").await;
    assert_eq!(plain.next_text().await, "hello, says  in hall");
    let mut ann = with_cookie(&server, "ann").await;
    let publish =
        |id: u32, data: &str| json!({"id": id, "publish": {"channel": "hall", "data": data}});
    for (id, data) in [(2, "nothing"), (3, "from outside")] {
        let answer = ann.ask(publish(id, data)).await;
        assert!(answer["publish"].is_object(), "{answer}");
    }
    assert_eq!(plain.next_text().await, "from outside, says ann in hall");
    ann.ask(json!({"id": 4, "subscribe": {"channel": "hall"}}))
        .await;
    ann.send_json(publish(5, "forbidden")).await;
    let refused = ann.next_json().await;
    assert_eq!(refused["error"]["code"], 103, "{refused}");
    ann.send_json(publish(6, "from within")).await;
    assert!(ann.next_json().await["publish"].is_object());
    let push = ann.next_json().await;
    assert_eq!(push["push"]["pub"]["data"], "from within, says ann in hall");
    assert_eq!(push["push"]["pub"]["info"]["user"], "ann");
    assert_eq!(plain.next_text().await, "from within, says ann in hall");
    // What the embedder says itself, nobody asks it about.
    let answer = ann.ask(json!({"id": 7, "rpc": {"method": "shout"}})).await;
    assert_eq!(answer["rpc"], json!({"data": null}), "{answer}");
    assert_eq!(plain.next_text().await, "shouted");
    plain.send("forbidden").await;
    let frame = plain.close_frame().await;
    assert_eq!(u16::from(frame.code), 1008);
    assert!(frame.reason.contains("one doesn't say that"), "{frame:?}");
}

/// Who publishes in a busy room from outside has to wait there, and comes again.
async fn a_publication_that_has_to_wait_is_asked_about_once<F: Fanout>() {
    const COUNT: usize = 3000;
    let config = config(|config| config.room_defaults.lag_messages = 64);
    let (server, mut heard, wishes) = counting_house::<F>(config).await;
    let mut plain = server.plain("/ws/hall").await;
    told(&mut heard).await;
    let mut ann = with_cookie(&server, "ann").await;
    told(&mut heard).await;
    let before = wishes.load(Ordering::Relaxed);
    let listening = tokio::spawn(async move {
        for at in 0..COUNT {
            let text = plain.next_text().await;
            assert_eq!(text, format!("m{at}, says ann in hall"));
        }
        plain
    });
    let lines = (0..COUNT).map(|at| {
        json!({"id": at + 2, "publish": {"channel": "hall", "data": format!("m{at}")}}).to_string()
    });
    let lines: Vec<_> = lines.collect();
    for frame in lines.chunks(500) {
        ann.send(frame.join("\n")).await;
    }
    let _plain = soon("all of them", listening).await.unwrap();
    assert_eq!(wishes.load(Ordering::Relaxed) - before, COUNT);
    for at in 0..COUNT {
        assert_eq!(told(&mut heard).await, format!("publish m{at}"));
    }
    assert!(heard.try_recv().is_err());
}

async fn what_is_no_json_ends_nobody_who_looks_back<F: Fanout>() {
    let (server, _heard) = house::<F>(config(|_| ())).await;
    for payload in ["{not JSON", "1"] {
        let publication = Publication::new(PayloadKind::Json, payload.into());
        let published = server.node.publish_one(&room("hall"), publication).await;
        published.unwrap();
    }
    let mut ann = with_cookie(&server, "ann").await;
    let ask = json!({"id": 2, "history": {"channel": "hall", "limit": -1}});
    let history = ann.ask(ask).await;
    let kept = &history["history"]["publications"];
    assert_eq!(
        *kept,
        json!([{"data": null, "offset": 1}, {"data": 1, "offset": 2}]),
        "{history}"
    );
}

async fn what_a_hook_is_told_is_in_its_order_and_a_bug_there_costs_nothing_else<F: Fanout>() {
    let (server, mut heard) = house::<F>(config(|_| ())).await;
    let mut ann = with_cookie(&server, "ann").await;
    assert_eq!(told(&mut heard).await, "ann joined #ann");
    // Left first of those behind it, when she goes.
    ann.send(r#"{"id":5,"subscribe":{"channel":"panics"}}"#)
        .await;
    assert_eq!(told(&mut heard).await, "ann joined panics");
    let both = r#"{"id":2,"subscribe":{"channel":"hall"}}
{"id":3,"unsubscribe":{"channel":"hall"}}
{"id":4,"subscribe":{"channel":"hall"}}"#;
    ann.send(both).await;
    for wanted in [
        "ann joined hall",
        "ann left hall, is there: false",
        "ann joined hall",
    ] {
        assert_eq!(told(&mut heard).await, wanted);
    }
    drop(ann);
    let mut left = [
        told(&mut heard).await,
        told(&mut heard).await,
        told(&mut heard).await,
    ];
    left.sort();
    let rooms = ["#ann", "hall", "panics"];
    assert_eq!(
        left,
        rooms.map(|room| format!("ann left {room}, is there: false"))
    );
    server
        .until("the end of ann", |status| status.connections == 0)
        .await;
}

/// A hook that takes long is nobody else's business, though its session reads nothing meanwhile.
async fn who_waits_for_a_hook_is_not_waited_for<F: Fanout>() {
    const LAG: usize = 64;
    let config = config(|config| config.room_defaults.lag_messages = LAG);
    let (told_to, mut heard) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    let hooks = House {
        told: told_to,
        wishes: Arc::default(),
        go_on: go_on.clone(),
    };
    let builder = Server::<F>::builder(config).hooks(hooks);
    let server = TestServer::of(builder.bind().await.unwrap());
    let mut ann = with_cookie(&server, "ann").await;
    ann.ask(json!({"id": 2, "subscribe": {"channel": "hall"}}))
        .await;
    ann.send_json(json!({"id": 3, "rpc": {"method": "wait"}}))
        .await;
    while told(&mut heard).await != "waiting" {}
    // Far beyond where a publisher begins to wait for members that only have no time to run.
    for at in 0..LAG - 4 {
        let mut batch = vec![Publication::text(at.to_string())];
        let at_once = Pace::WithinReach {
            waited: Duration::ZERO,
        };
        let hall = room("hall");
        let published = server.node.publish_at(&hall, &mut batch, at_once);
        published.await.unwrap();
        assert!(batch.is_empty(), "{at} has to wait");
    }
    go_on.notify_one();
    for _ in 0..LAG - 3 {
        ann.next_json().await;
    }
}

async fn hooks_close_what_stands_open_to_everybody_on_the_machine<F: Fanout>() {
    let (server, _heard) = house::<F>(config(|_| ())).await;
    let _member = server.plain("/ws/hall").await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", server.addr);
    let sent = ask(&server, &get("/send?room=hall&message=intruder")).await;
    assert_eq!(sent.status, 401);
    let status = ask(&server, &get("/status")).await;
    assert!(!status.body.contains("hall"), "{}", status.body);
}

async fn no_hook_opens_a_room_that_is_named_after_somebody_else<F: Fanout>() {
    let (server, _heard) = house::<F>(config(|_| ())).await;
    let mut ann = with_cookie(&server, "ann").await;
    let answer = ann
        .ask(json!({"id": 2, "subscribe": {"channel": "#bob"}}))
        .await;
    assert_eq!(answer["error"]["code"], 103, "{answer}");
    let request = with_header(
        &upgrade_request("/ws/%23bob", server.addr),
        "cookie: user=ann",
    );
    assert_eq!(ask(&server, &request).await.status, 403);
}

async fn a_publisher_without_an_info_is_left_out<F: Fanout>() {
    let (server, _heard) = house::<F>(config(|_| ())).await;
    let mut ann = with_cookie(&server, "ann").await;
    ann.ask(json!({"id": 2, "subscribe": {"channel": "hall"}}))
        .await;
    let bot = Arc::new(ClientInfo::anonymous("bot"));
    let publication = Publication::text("hi").by(bot);
    server
        .node
        .publish_one(&room("hall"), publication)
        .await
        .unwrap();
    let push = ann.next_json().await;
    assert_eq!(push["push"]["pub"], json!({"data": "hi", "offset": 1}));
    let history = ann
        .ask(json!({"id": 3, "history": {"channel": "hall", "limit": 1}}))
        .await;
    assert_eq!(
        history["history"]["publications"],
        json!([{"data": "hi", "offset": 1}])
    );
}

async fn a_call_is_answered_by_its_hook<F: Fanout>() {
    let (server, _heard) = house::<F>(config(|_| ())).await;
    let mut ann = with_cookie(&server, "ann").await;
    let call = |id: u32, method: &str| json!({"id": id, "rpc": {"method": method}});
    let broken = ann.ask(call(2, "broken")).await;
    assert_eq!(
        broken["error"],
        json!({"code": 1234, "message": "it is broken"})
    );
    let unknown = ann.ask(call(3, "unknown")).await;
    assert_eq!(unknown["error"]["code"], 104, "{unknown}");
    // A reply is a line.
    let lines = ann.ask(call(4, "lines")).await;
    assert_eq!(lines["rpc"]["data"], json!([1, 2]));
}

#[tokio::test]
async fn without_hooks_a_call_is_not_available() {
    let server = TestServer::start(config(|_| ())).await;
    let mut peer = server.centrifugo("ann").await;
    let answer = peer.ask(json!({"id": 2, "rpc": {"method": "who"}})).await;
    assert_eq!(answer["error"]["code"], 108, "{answer}");
}

async fn every_join_is_followed_by_one_leave_however_it_ends<F: Fanout>() {
    let (server, mut heard) = house::<F>(config(|_| ())).await;
    let mut ann = with_cookie(&server, "ann").await;
    assert_eq!(told(&mut heard).await, "ann joined #ann");
    for channel in ["a", "b"] {
        ann.ask(json!({"id": 2, "subscribe": {"channel": channel}}))
            .await;
        assert_eq!(told(&mut heard).await, format!("ann joined {channel}"));
    }
    ann.ask(json!({"id": 3, "unsubscribe": {"channel": "a"}}))
        .await;
    assert_eq!(told(&mut heard).await, "ann left a, is there: false");
    drop(ann);
    let mut left = [told(&mut heard).await, told(&mut heard).await];
    left.sort();
    assert_eq!(
        left,
        [
            "ann left #ann, is there: false",
            "ann left b, is there: false"
        ]
    );

    let bob = Peer::connect_with(server.addr, "/ws/hall", Some(("cookie", "user=bob"))).await;
    let mut joined = [told(&mut heard).await, told(&mut heard).await];
    joined.sort();
    assert_eq!(joined, ["bob joined #bob", "bob joined hall"]);
    server.stop().await;
    drop(bob);
    let mut left = [told(&mut heard).await, told(&mut heard).await];
    left.sort();
    assert_eq!(
        left,
        [
            "bob left #bob, is there: false",
            "bob left hall, is there: false"
        ]
    );
    assert!(
        heard.recv().await.is_none(),
        "the house is gone with the server, and nothing is left"
    );
}

/// A server with a few routes of its own.
async fn with_routes<F: Fanout>() -> TestServer<F> {
    let server = Server::<F>::builder(config(|config| config.limits.message_bytes = 1000))
        .route(
            Method::GET,
            "/hello/{name}",
            |_, request: Request<Bytes>| async move {
                let From(peer) = *request.extensions().get::<From>().unwrap();
                assert_eq!(peer.ip(), IpAddr::from([127, 0, 0, 1]));
                let path = request.extensions().get::<PathParameters>().unwrap();
                let (name, uri) = (path.get("name").unwrap(), request.uri());
                assert_eq!(path.get("other"), None);
                Response::new(format!("hello {name} from {uri}").into())
            },
        )
        .route(Method::POST, "/orders", |node, request| async move {
            let order = Publication::new(PayloadKind::Binary, request.into_body());
            let receipt = node.publish_one(&room("orders"), order).await.unwrap();
            let mut answer = Response::new(receipt.members.to_string().into());
            *answer.status_mut() = StatusCode::CREATED;
            answer
        })
        .route(Method::GET, "/status", |_, _| async {
            Response::new("mine".into())
        })
        .page("/board", "<!doctype html><title>board</title>")
        .plain("/live", room("orders"));
    TestServer::of(server.bind().await.unwrap())
}

async fn own_routes_are_answered_beside_ours<F: Fanout>() {
    let server = with_routes::<F>().await;
    let request =
        |line: &str, rest: &str| format!("{line} HTTP/1.1\r\nhost: {}\r\n{rest}\r\n", server.addr);
    let hello = ask(&server, &request("GET /hello/you%20there?x=1", "")).await;
    assert_eq!(
        (hello.status, &*hello.body),
        (200, "hello you there from /hello/you%20there?x=1")
    );
    assert_eq!(hello.header("x-content-type-options"), Some("nosniff"));
    // With ours, a form on an own page would be sent with an origin of `null`.
    assert_eq!(hello.header("referrer-policy"), Some("same-origin"));

    let mut live = server.plain("/live").await;
    let posted = ask(
        &server,
        &request("POST /orders", "content-length: 3\r\n").replace("\r\n\r\n", "\r\n\r\none"),
    )
    .await;
    assert_eq!((posted.status, &*posted.body), (201, "1"));
    assert_eq!(live.next().await.into_data(), "one");
    live.send("two").await;
    assert_eq!(live.next_text().await, "two");

    let status = ask(&server, &request("GET /status", "")).await;
    assert_eq!(status.body, "mine", "in the place of ours");
    assert_eq!(
        ask(&server, &request("GET /healthz", "")).await.status,
        200,
        "ours is there"
    );
    let page = ask(&server, &request("GET /board", "")).await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.body.starts_with("<!doctype html>"));
    let metrics = ask(&server, &request("GET /metrics", "")).await;
    assert!(
        metrics.body.contains(r#"route="own",code="200"} 3"#),
        "{}",
        metrics.body
    );
}

async fn own_routes_are_guarded_like_ours<F: Fanout>() {
    let server = with_routes::<F>().await;
    let request =
        |line: &str, rest: &str| format!("{line} HTTP/1.1\r\nhost: {}\r\n{rest}\r\n", server.addr);
    for (line, rest, status) in [
        ("PUT /orders", "", 405),
        ("GET /orders", "", 405),
        ("HEAD /hello/you", "", 200),
        (
            "POST /orders",
            "origin: http://elsewhere.example\r\ncontent-length: 0\r\n",
            403,
        ),
        (
            "POST /orders",
            "content-length: 1001\r\nexpect: 100-continue\r\n",
            413,
        ),
        ("POST /orders", "transfer-encoding: gzip, chunked\r\n", 501),
        ("GET /live", "", 426),
    ] {
        let mut stream = server.raw().await;
        stream
            .write_all(request(line, rest).as_bytes())
            .await
            .unwrap();
        let head = support::read_head(&mut stream).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line} {rest}: {head}"
        );
    }
    let foreign = request("GET /hello/you", "").replace("127.0.0.1", "evil.example");
    assert_eq!(ask(&server, &foreign).await.status, 400);
    let allow = ask(&server, &request("PUT /orders", "")).await;
    assert_eq!(allow.header("allow"), Some("POST"));
}

async fn ours_can_be_left_out<F: Fanout>() {
    let builder = Server::<F>::builder(config(|_| ()))
        .only_own_routes()
        .plain("/live", room("orders"));
    let server = TestServer::of(builder.bind().await.unwrap());
    for path in [
        "/",
        "/status",
        "/ws/orders",
        "/api/info",
        "/connection/websocket",
    ] {
        let request = upgrade_request(path, server.addr);
        assert_eq!(ask(&server, &request).await.status, 404, "{path}");
    }
    let mut live = server.plain("/live").await;
    live.send("still").await;
    assert_eq!(live.next_text().await, "still");
}

#[tokio::test]
async fn a_path_that_can_not_be_one_is_refused_by_name() {
    for path in ["no-slash", "/{a}{b}", "/{"] {
        let builder = Server::<slabcast::fanout::Registry>::builder(config(|_| ())).page(path, "");
        match builder.bind().await {
            Err(ServeError::Route {
                path: named,
                problem,
            }) => {
                assert_eq!(named, path);
                assert!(!problem.is_empty());
            }
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn a_json_publication_is_one_line_whatever_its_parts_were() {
    let part = RawValue::from_string("[1,\r\n2]".to_owned()).unwrap();
    let publication = Publication::json(&json!({"said": "a\nb"})).unwrap();
    assert_eq!(publication.payload, r#"{"said":"a\nb"}"#);
    assert_eq!(publication.kind, PayloadKind::Json);
    let publication = Publication::json(&[part]).unwrap();
    assert_eq!(publication.payload, "[[1,  2]]");
    assert!(Publication::json(&BTreeMap::from([((), 1)])).is_err());
}

#[test]
fn values_are_what_a_hook_makes_them() {
    let error = RpcError::no_such_method("x\n");
    assert_eq!(error.code, 104);
    assert!(!error.message.contains('\n'), "{error}");
    let _: Value = serde_json::from_str(&json!({"message": error.message}).to_string()).unwrap();
}

on_every_engine!(
    a_hook_says_who_connects,
    a_hook_says_who_may_be_where,
    a_hook_says_what_becomes_of_a_publication,
    a_publication_that_has_to_wait_is_asked_about_once,
    what_is_no_json_ends_nobody_who_looks_back,
    what_a_hook_is_told_is_in_its_order_and_a_bug_there_costs_nothing_else,
    who_waits_for_a_hook_is_not_waited_for,
    hooks_close_what_stands_open_to_everybody_on_the_machine,
    no_hook_opens_a_room_that_is_named_after_somebody_else,
    a_publisher_without_an_info_is_left_out,
    a_call_is_answered_by_its_hook,
    every_join_is_followed_by_one_leave_however_it_ends,
    own_routes_are_answered_beside_ours,
    own_routes_are_guarded_like_ours,
    ours_can_be_left_out,
);
