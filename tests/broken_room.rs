//! A room whose engine fails with a batch in hand: nobody knows what became of that, and whoever
//! published it is told that it is our fault, and no limit of theirs. And bugs that panic, in a room or
//! in a session: they end that, and nothing else.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

#[path = "fanout_suite/members.rs"]
#[allow(dead_code, reason = "the suite has more promises")]
mod members;
mod support;

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Instant,
};

use bytes::{BufMut as _, BytesMut};
use serde_json::{Value, json};
use slabcast::{
    config::{PublishRight, RoomConfig, Secret, SubscribeRight},
    fanout::{
        Admission, CatchUp, Dialect, Encode, Event, Fanout, HistoryPage, HistoryQuery,
        HistoryRefusal, Hub, Membership, Newcomer, Pace, Receipt, Registry, Retired, RoomSetup,
        RoomStatus, Vacancy,
    },
    feed::FeedBudget,
    history::HistoryBudget,
    id::{ClientId, RoomName},
    node::{NodeStatus, RoomError},
    outbox::Outbox,
    publication::{ClientInfo, Publication},
};
use support::{Goodbye, Peer, Response, ServerFrame, TestServer, client_frame, config, upgraded};
use tokio::io::AsyncWriteExt as _;

/// Takes whatever is published, and says that it is gone. It claims a member, for `/send`.
#[derive(Debug)]
struct Failing;

impl Fanout for Failing {
    const NAME: &'static str = "failing";

    fn open(_: RoomSetup) -> Arc<Self> {
        Arc::new(Self)
    }

    async fn publish(&self, batch: &mut Vec<Publication>, _: Pace) -> Result<Receipt, Retired> {
        batch.clear();
        Err(Retired)
    }

    async fn subscribe(
        self: &Arc<Self>,
        _: Newcomer,
        _: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        pending().await
    }

    fn leave(&self, _: ClientId) {}

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        Vec::new()
    }

    async fn history(&self, _: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        Err(HistoryRefusal::Off)
    }

    async fn status(&self) -> RoomStatus {
        RoomStatus {
            clients: 1,
            ..RoomStatus::default()
        }
    }

    async fn tidy(&self, _: Instant) {}

    fn retire_if_vacant(&self, _: Instant) -> Vacancy {
        Vacancy::Occupied
    }
}

/// What a server whose rooms fail answers to a POST of `body`.
async fn post(path: &str, header: &str, body: &str) -> Response {
    let server = TestServer::<Failing>::on_engine(config(|config| {
        config.api.key = Some(Secret::new("0123456789abcdef"));
    }))
    .await;
    // `/send` sends to nobody where no room is.
    server
        .node
        .keep_room(&RoomName::parse("lobby").unwrap(), &RoomConfig::default());
    let mut stream = server.raw().await;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nX-API-Key: 0123456789abcdef\r\n{header}\
         Content-Length: {}\r\n\r\n{body}",
        server.addr,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    Response::read(&mut stream).await
}

const PUBLISH: &str = r#"{"channel":"lobby","data":"hello"}"#;

#[tokio::test]
async fn over_the_api_it_is_an_internal_error() {
    let response = post("/api/publish", "", PUBLISH).await;
    assert_eq!(response.status, 200);
    let body: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(body["error"]["code"], 100, "{body}");
    let transport = "X-Centrifugo-Error-Mode: transport\r\n";
    let response = post("/api/publish", transport, PUBLISH).await;
    assert_eq!(response.status, 500);
}

#[tokio::test]
async fn over_send_it_is_an_internal_error() {
    let response = post("/send?room=lobby", "", "hello").await;
    assert_eq!(response.status, 500, "{}", response.error_message());
}

#[tokio::test]
async fn over_centrifugo_it_is_an_internal_error() {
    let server = TestServer::<Failing>::on_engine(config(|_| ())).await;
    let publish = json!({"id": 2, "publish": {"channel": "lobby", "data": "hello"}});
    let reply = server.centrifugo("").await.ask(publish).await;
    assert_eq!(reply["error"]["code"], 100, "{reply}");
}

#[tokio::test]
async fn a_kept_room_that_breaks_opens_to_nobody_else() {
    let server = TestServer::<Failing>::on_engine(config(|_| ())).await;
    let name = RoomName::parse("build").unwrap();
    let options = RoomConfig {
        subscribe: SubscribeRight::Token,
        publish: PublishRight::Nobody,
        ..RoomConfig::default()
    };
    server.node.keep_room(&name, &options);
    let closed = (SubscribeRight::Token, PublishRight::Nobody);
    for _ in 0..2 {
        assert_eq!(server.node.rights(&name), closed);
        let published = server.node.publish_one(&name, Publication::text("line"));
        assert_eq!(published.await, Err(RoomError::Broken));
    }
    assert_eq!(server.node.rights(&name), closed);
}

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// What breaks the room that encodes it, in the middle of its frame.
const BUG: &[u8] = b"bug";
/// What breaks the session that publishes it, before the room has seen it.
const SESSION_BUG: &[u8] = b"session bug";

/// An engine as it is, in rooms that are broken by what is published, and by a user, of that name.
#[derive(Debug)]
struct Fragile<E: Fanout> {
    engine: Arc<E>,
    members: Mutex<Vec<Membership<E>>>,
}

#[derive(Debug)]
struct Tripwire(Box<dyn Encode>);

impl Encode for Tripwire {
    fn dialects(&self) -> usize {
        self.0.dialects()
    }

    fn encode(&self, dialect: Dialect, event: Event<'_>, out: &mut BytesMut) {
        self.0.encode(dialect, event, out);
        let is_bug = match event {
            Event::Publication(publication, _) => publication.payload.ends_with(BUG),
            Event::Join(info) => info.user.as_str().as_bytes() == BUG,
            Event::Leave(_) => false,
        };
        if is_bug {
            out.truncate(out.len().saturating_sub(1));
            panic!("meant to be seen");
        }
    }
}

impl<E: Fanout> Fanout for Fragile<E> {
    const NAME: &'static str = E::NAME;

    fn open(setup: RoomSetup) -> Arc<Self> {
        let encoder = Box::new(Tripwire(setup.encoder));
        Arc::new(Self {
            engine: E::open(RoomSetup { encoder, ..setup }),
            members: Mutex::default(),
        })
    }

    async fn publish(&self, batch: &mut Vec<Publication>, pace: Pace) -> Result<Receipt, Retired> {
        for publication in &*batch {
            assert_ne!(publication.payload, SESSION_BUG, "meant to be seen");
        }
        self.engine.publish(batch, pace).await
    }

    async fn subscribe(
        self: &Arc<Self>,
        newcomer: Newcomer,
        catch_up: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        let Admission {
            membership,
            feed,
            position,
            missed,
        } = self.engine.subscribe(newcomer, catch_up).await?;
        let id = membership.id();
        self.members.lock().unwrap().push(membership);
        Ok(Admission {
            membership: Membership::new(self.clone(), id),
            feed,
            position,
            missed,
        })
    }

    fn leave(&self, id: ClientId) {
        let mut members = self.members.lock().unwrap();
        let index = members.iter().position(|member| member.id() == id);
        let left = members.swap_remove(index.expect("it leaves once"));
        drop(members);
        drop(left);
    }

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        self.engine.presence().await
    }

    async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        self.engine.history(query).await
    }

    async fn status(&self) -> RoomStatus {
        self.engine.status().await
    }

    async fn tidy(&self, now: Instant) {
        self.engine.tidy(now).await;
    }

    fn retire_if_vacant(&self, now: Instant) -> Vacancy {
        self.engine.retire_if_vacant(now)
    }
}

async fn fragile<E: Fanout>() -> TestServer<Fragile<E>> {
    TestServer::on_engine(config(|config| {
        config.room_defaults.history_size = 0;
        config.room_defaults.join_leave = true;
    }))
    .await
}

/// Waits until `internal` sessions have ended by a fault of ours and nobody is there, and sees that
/// every session and every frame is accounted for.
async fn accounts_balance<F: Fanout>(server: &TestServer<F>, internal: u64) {
    let is_settled = |status: &NodeStatus| {
        let ended = status.closed.values().sum::<u64>();
        (status.connections, status.num_rooms, ended) == (0, 0, status.opened)
    };
    let status = server.until("everybody's leaving", is_settled).await;
    assert_eq!(status.closed["internal"], internal, "{status:#?}");
    let of = status.deliveries;
    let settled = of.delivered + of.skipped + of.discarded + of.pending;
    assert_eq!(of.due, settled, "{status:#?}");
}

on_every_engine!(
    a_bug_in_a_room_ends_its_members_behind_what_was_whole_and_nobody_else,
    a_newcomer_that_breaks_every_room_is_refused_and_others_are_let_in,
    a_bug_in_a_session_ends_it_alone_and_it_leaves_its_room,
    a_bug_behind_which_a_peer_closes_is_counted_as_one,
);

async fn a_bug_in_a_room_ends_its_members_behind_what_was_whole_and_nobody_else<E: Fanout>() {
    let server = fragile::<E>().await;
    let mut other = server.plain("/ws/other").await;
    let mut speaker = upgraded(&server, "/ws/lobby").await;
    let mut listener = upgraded(&server, "/ws/lobby").await;
    let mut centrifugo = server.centrifugo("").await;
    let subscribe = json!({"id": 2, "subscribe": {"channel": "lobby"}});
    centrifugo.ask(subscribe).await;
    // In one batch, so that nobody has been told of the first when the second breaks off.
    let mut said = client_frame(TEXT, b"before");
    said.extend(client_frame(TEXT, BUG));
    said.extend(client_frame(TEXT, b"behind"));
    speaker.write_all(&said).await.unwrap();
    for stream in [&mut speaker, &mut listener] {
        let goodbye = Goodbye::read(stream).await;
        let heard: Vec<_> = goodbye.before.iter().map(ServerFrame::text).collect();
        assert_eq!((&heard[..], goodbye.code), (&["before"][..], 1011));
    }
    let push = centrifugo.next_json().await;
    assert_eq!(push["push"]["pub"]["data"], "before", "{push}");
    assert_eq!(centrifugo.close_code().await, 3004);
    other.send("still here").await;
    assert_eq!(other.next_text().await, "still here");
    let mut again = server.plain("/ws/lobby").await;
    again.send("a new room").await;
    assert_eq!(again.next_text().await, "a new room");
    drop((other, again));
    accounts_balance(&server, 3).await;
    server.stop().await;
}

async fn a_newcomer_that_breaks_every_room_is_refused_and_others_are_let_in<E: Fanout>() {
    let server = fragile::<E>().await;
    // Its personal room is one that it breaks.
    let mut bug = Peer::connect(server.addr, "/connection/websocket?uid=bug").await;
    bug.send_json(json!({"id": 1, "connect": {}})).await;
    assert_eq!(bug.close_code().await, 3004);
    let mut plain = upgraded(&server, "/ws/lobby?uid=bug").await;
    let goodbye = Goodbye::read(&mut plain).await;
    let said = (goodbye.code, goodbye.reason.as_str());
    let told = "internal error: the room fails whenever it is entered";
    assert_eq!(said, (1011, told));
    let mut ada = server.centrifugo("ada").await;
    let subscribe = json!({"id": 2, "subscribe": {"channel": "lobby"}});
    let reply = ada.ask(subscribe).await;
    assert!(reply["subscribe"].is_object(), "{reply}");
    drop(ada);
    accounts_balance(&server, 2).await;
    server.stop().await;
}

async fn a_bug_in_a_session_ends_it_alone_and_it_leaves_its_room<E: Fanout>() {
    let server = fragile::<E>().await;
    let mut listener = server.plain("/ws/lobby").await;
    let mut plain = upgraded(&server, "/ws/lobby").await;
    plain
        .write_all(&client_frame(TEXT, SESSION_BUG))
        .await
        .unwrap();
    assert_eq!(Goodbye::read(&mut plain).await.code, 1011);
    let mut centrifugo = server.centrifugo("").await;
    let subscribe = json!({"id": 2, "subscribe": {"channel": "lobby"}});
    centrifugo.ask(subscribe).await;
    server
        .until("its leaving", |status| status.subscriptions == 2)
        .await;
    listener.send("hello").await;
    assert_eq!(listener.next_text().await, "hello");
    let push = centrifugo.next_json().await;
    assert_eq!(push["push"]["pub"]["data"], "hello", "{push}");
    drop((listener, centrifugo));
    accounts_balance(&server, 1).await;
    server.stop().await;
}

async fn a_bug_behind_which_a_peer_closes_is_counted_as_one<E: Fanout>() {
    let server = fragile::<E>().await;
    let mut stream = upgraded(&server, "/ws/lobby").await;
    let mut sent = client_frame(TEXT, b"before");
    sent.extend(client_frame(TEXT, BUG));
    sent.extend(client_frame(CLOSE, &1000_u16.to_be_bytes()));
    stream.write_all(&sent).await.unwrap();
    // The answer to its own close frame, and nothing behind it.
    let goodbye = Goodbye::read(&mut stream).await;
    assert_eq!((goodbye.code, goodbye.before), (1000, vec![]));
    accounts_balance(&server, 1).await;
    server.stop().await;
}

/// Has a word for everything in each of two dialects. Whoever is of that name breaks the room: `late`
/// when he comes, at the second dialect, and `leaver` when he goes, at the first.
#[derive(Debug)]
struct Brittle;

const FIRST: Dialect = Dialect(0);
const SECOND: Dialect = Dialect(1);

impl Encode for Brittle {
    fn dialects(&self) -> usize {
        2
    }

    fn encode(&self, dialect: Dialect, event: Event<'_>, out: &mut BytesMut) {
        let is_bug = match event {
            Event::Join(info) => &*info.client == "late" && dialect == SECOND,
            Event::Leave(info) => &*info.client == "leaver",
            Event::Publication(..) => false,
        };
        assert!(!is_bug, "meant to be seen");
        out.put_slice(b"something\n");
    }
}

fn brittle<E: Fanout>() -> members::Room<E> {
    let deliveries = Arc::default();
    let engine = E::open(RoomSetup {
        config: RoomConfig {
            join_leave: true,
            ..RoomConfig::default()
        },
        encoder: Box::new(Brittle),
        deliveries: Arc::clone(&deliveries),
        history_budget: Arc::new(HistoryBudget::new(1 << 20)),
        feed_budget: Arc::new(FeedBudget::unlimited()),
    });
    members::Room { engine, deliveries }
}

/// Waits for what the hub does in its own time, and sees that `clients` are there, and that every frame
/// is accounted for.
async fn accounts_balance_with<E: Fanout>(room: &members::Room<E>, clients: usize) {
    assert_eq!(room.engine.status().await.clients, clients);
    room.assert_accounts_balance().await;
}

#[tokio::test]
async fn nothing_is_due_to_a_newcomer_whose_join_breaks_off_at_the_second_dialect() {
    leaves_nothing_due::<Registry>().await;
    leaves_nothing_due::<Hub>().await;
}

async fn leaves_nothing_due<E: Fanout>() {
    let room = brittle::<E>();
    let listener = room.join("listener", SECOND).await;
    let mut outbox = Outbox::new(Arc::default(), room.deliveries.clone());
    let late = members::newcomer("late", FIRST, &mut outbox);
    let admitted = room.engine.subscribe(late, CatchUp::Nothing).await;
    assert_eq!(admitted.err(), Some(Retired));
    accounts_balance_with(&room, 1).await;
    drop(listener);
    accounts_balance_with(&room, 0).await;
}

// On one thread, so that all of them have left before a hub's task hears of the first.
#[tokio::test]
async fn a_bug_at_a_leave_costs_none_of_those_that_leave_with_it() {
    costs_no_leave::<Registry>().await;
    costs_no_leave::<Hub>().await;
}

async fn costs_no_leave<E: Fanout>() {
    let room = brittle::<E>();
    let slow = room.join("slow", FIRST).await;
    let mut leaving = Vec::new();
    for name in ["ada", "leaver", "kim", "bob"] {
        leaving.push(room.join(name, FIRST).await);
    }
    room.publish("unread by all of them").await;
    drop(leaving);
    accounts_balance_with(&room, 1).await;
    assert_eq!(room.engine.presence().await.len(), 1);
    assert!(room.engine.retire_if_vacant(Instant::now()).is_retired());
    drop(slow);
    accounts_balance_with(&room, 0).await;
    assert_eq!(room.engine.status().await.pending, 0);
}
