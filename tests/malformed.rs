//! Peers that break the rules: each ends for the right reason and with the right code, and nobody
//! else in its room notices anything.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{collections::BTreeMap, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use slabcast::{config::Config, node::NodeStatus};
use support::{Goodbye, ServerFrame, TestServer, client_frame, config, soon, upgraded};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_tungstenite::tungstenite::Message;

const PLAIN: &str = "/ws/lobby";
const CENTRIFUGO: &str = "/connection/websocket?uid=mallory";
const BOTH: [&str; 2] = [PLAIN, CENTRIFUGO];

/// First bytes of frames (RFC 6455, 5.2): the final bit and an opcode.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// Without the final bit.
const TEXT_START: u8 = 0x01;
const CONTINUATION: u8 = 0x00;
const CONTINUATION_END: u8 = 0x80;

const MESSAGE_BYTES_MAX: usize = 1024;

/// A member that follows the protocol and is read all the time, so that pings find it.
struct Innocent {
    say: UnboundedSender<Message>,
    heard: UnboundedReceiver<String>,
}

impl Innocent {
    /// `shown` tells what of a text message its way in shows of it, if anything.
    fn new(mut peer: support::Peer, shown: fn(&str) -> Option<String>) -> Self {
        let (say, mut to_say) = unbounded_channel::<Message>();
        let (hear, heard) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    said = to_say.recv() => match said {
                        Some(message) => peer.stream.send(message).await.unwrap(),
                        None => return,
                    },
                    message = peer.stream.next() => match message {
                        Some(Ok(Message::Text(text))) if text == "{}" => {
                            peer.stream.send(Message::text("{}")).await.unwrap();
                        }
                        Some(Ok(Message::Text(text))) => {
                            if let Some(text) = shown(&text) {
                                let _ = hear.send(text);
                            }
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        // Also a close frame: then it is no longer a member, and hears nothing.
                        _ => return,
                    },
                }
            }
        });
        Self { say, heard }
    }

    async fn hears(&mut self, wanted: &str) {
        let heard = soon("hearing something", self.heard.recv()).await;
        assert_eq!(heard.as_deref(), Some(wanted));
    }
}

/// A room with innocent members in it, one for each way in.
struct Scene {
    server: TestServer,
    plain: Innocent,
    json: Innocent,
    said: usize,
}

impl Scene {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let config = config(|config| {
            config.limits.message_bytes = MESSAGE_BYTES_MAX;
            change(config);
        });
        let server = TestServer::start(config).await;
        let plain = server.plain("/ws/lobby?uid=ada").await;
        let mut json = server.centrifugo("bob").await;
        let subscribe = json!({"id": 2, "subscribe": {"channel": "lobby"}});
        let reply = json.ask(subscribe).await;
        assert!(reply["subscribe"].is_object(), "{reply}");
        server
            .until("joining", |status| status.connections == 2)
            .await;
        let plain = Innocent::new(plain, |text| Some(text.to_owned()));
        let json = Innocent::new(json, |text| {
            let frame: Value = serde_json::from_str(text).unwrap();
            let data = frame["push"]["pub"]["data"].as_str();
            Some(data.unwrap_or(text).to_owned())
        });
        Self {
            server,
            plain,
            json,
            said: 0,
        }
    }

    async fn closed(&self) -> BTreeMap<&'static str, u64> {
        self.server.status().await.closed
    }

    /// A member of the lobby that is not innocent. On the Centrifugo way it is `mallory`.
    async fn offender(&self, path: &str) -> TcpStream {
        let mut stream = upgraded(&self.server, path).await;
        if path == CENTRIFUGO {
            let commands = concat!(
                r#"{"id":1,"connect":{}}"#,
                "\n",
                r#"{"id":2,"subscribe":{"channel":"lobby"}}"#
            );
            let frame = client_frame(TEXT, commands.as_bytes());
            stream.write_all(&frame).await.unwrap();
            let replies = ServerFrame::read(&mut stream).await;
            assert_eq!(replies.text().lines().count(), 2, "{}", replies.text());
        }
        self.server
            .until("joining", |status| status.rooms[0].clients == 3)
            .await;
        stream
    }

    /// Both can speak, hear each other, and have heard nothing else.
    async fn innocents_are_unharmed(&mut self) {
        self.said += 1;
        let texts = [
            format!("plain {}", self.said),
            format!("json {}", self.said),
        ];
        self.plain.say.send(Message::text(&texts[0])).unwrap();
        self.plain.hears(&texts[0]).await;
        self.json.hears(&texts[0]).await;
        // To the reply nobody listens: it comes before or after the own copy.
        let publish = json!({"id": 9, "publish": {"channel": "lobby", "data": texts[1]}});
        self.json
            .say
            .send(Message::text(publish.to_string()))
            .unwrap();
        self.plain.hears(&texts[1]).await;
        let mut heard = Vec::new();
        for _ in 0..2 {
            heard.push(soon("a reply and a push", self.json.heard.recv()).await);
        }
        heard.sort();
        let reply = r#"{"id":9,"publish":{}}"#.to_owned();
        assert_eq!(heard, [Some(texts[1].clone()), Some(reply)]);
    }

    /// Reads how the server ends the offender, and sees that it did so for `label`, with `code`, once,
    /// and without anybody else's noticing.
    async fn ends(&mut self, mut offender: TcpStream, label: &str, code: u16) -> Goodbye {
        let goodbye = Goodbye::read(&mut offender).await;
        assert_eq!(goodbye.code, code, "{goodbye:?}");
        drop(offender);
        self.server
            .until("leaving", |status| {
                status.connections == 2 && status.closed[label] > 0
            })
            .await;
        self.innocents_are_unharmed().await;
        goodbye
    }

    /// An offender that sends `bytes` is closed for `label` with `code` and hears nothing else.
    async fn is_closed(&mut self, path: &str, bytes: &[u8], label: &'static str, code: u16) {
        let mut expected = self.closed().await;
        *expected.get_mut(label).unwrap() += 1;
        let mut offender = self.offender(path).await;
        offender.write_all(bytes).await.unwrap();
        let goodbye = self.ends(offender, label, code).await;
        assert_eq!(goodbye.before, [], "for {bytes:?}");
        assert_eq!(self.closed().await, expected, "for {bytes:?}");
    }

    /// The same on both ways in, as a violation of RFC 6455.
    async fn is_malformed(&mut self, bytes: &[u8]) {
        self.is_closed(PLAIN, bytes, "malformed", 1002).await;
        self.is_closed(CENTRIFUGO, bytes, "malformed", 3501).await;
    }

    /// The same on both ways in, as text that is none.
    async fn is_not_utf8(&mut self, bytes: &[u8]) {
        self.is_closed(PLAIN, bytes, "not_utf8", 1007).await;
        self.is_closed(CENTRIFUGO, bytes, "not_utf8", 3501).await;
    }

    /// The same on both ways in, as too big.
    async fn is_too_big(&mut self, bytes: &[u8]) {
        self.is_closed(PLAIN, bytes, "too_big", 1009).await;
        self.is_closed(CENTRIFUGO, bytes, "too_big", 1009).await;
    }

    /// The same on the Centrifugo way in, as something that is not a command there.
    async fn is_no_command(&mut self, text: &str) {
        let frame = client_frame(TEXT, text.as_bytes());
        self.is_closed(CENTRIFUGO, &frame, "malformed", 3501).await;
    }
}

/// Sends one command and returns the reply.
async fn ask(stream: &mut TcpStream, command: &Value) -> Value {
    let frame = client_frame(TEXT, command.to_string().as_bytes());
    stream.write_all(&frame).await.unwrap();
    let frame = ServerFrame::read(stream).await;
    let reply: Value = serde_json::from_str(frame.text()).unwrap();
    assert_eq!(reply["id"], command["id"], "{reply}");
    reply
}

#[tokio::test]
async fn an_unmasked_frame_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    scene.is_malformed(&[TEXT, 2, b'h', b'i']).await;
    scene.is_malformed(&[PING, 0]).await;
    scene.is_malformed(&[CLOSE, 2, 3, 0xe8]).await;
    scene.server.stop().await;
}

#[tokio::test]
async fn a_reserved_bit_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    for bit in [0x40, 0x20, 0x10] {
        scene.is_malformed(&client_frame(TEXT | bit, b"hi")).await;
        scene.is_malformed(&client_frame(PING | bit, b"hi")).await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn an_unknown_opcode_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        scene.is_malformed(&client_frame(0x80 | opcode, b"")).await;
    }
    scene.is_malformed(&client_frame(0x83, b"hi")).await;
    scene.is_malformed(&client_frame(0x8b, b"hi")).await;
    scene.server.stop().await;
}

#[tokio::test]
async fn a_fragmented_control_frame_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    for control in [CLOSE, PING, PONG] {
        scene.is_malformed(&client_frame(control & 0x7f, b"")).await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn a_control_frame_over_125_bytes_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    let mut payload = vec![b'x'; 126];
    payload[..2].copy_from_slice(&1000_u16.to_be_bytes());
    for control in [CLOSE, PING, PONG] {
        scene.is_malformed(&client_frame(control, &payload)).await;
    }
    // At the limit all is well.
    let mut peer = scene.offender(PLAIN).await;
    let ping = client_frame(PING, &payload[..125]);
    peer.write_all(&ping).await.unwrap();
    let pong = ServerFrame::read(&mut peer).await;
    assert_eq!((pong.opcode, &pong.payload[..]), (0xa, &payload[..125]));
    scene.server.stop().await;
}

#[tokio::test]
async fn a_continuation_of_nothing_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    for opcode in [CONTINUATION, CONTINUATION_END] {
        scene.is_malformed(&client_frame(opcode, b"hi")).await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn a_new_message_inside_a_fragmented_one_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    for first_byte in [TEXT, BINARY, TEXT_START] {
        let mut bytes = client_frame(TEXT_START, b"one");
        bytes.extend(client_frame(first_byte, b"two"));
        scene.is_malformed(&bytes).await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn half_a_close_code_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    scene.is_malformed(&client_frame(CLOSE, &[3])).await;
    scene.server.stop().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    for wrong in [
        &b"\xff"[..],
        b"hi \xc3\x28",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"cut off \xc3",
    ] {
        scene.is_not_utf8(&client_frame(TEXT, wrong)).await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_across_fragments_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    for fragments in [
        &[&b"\xc3"[..], b"\x28"][..],
        &[b"good", b"\xff"],
        &[b"\xe2\x82", b""],
        &[b"\xf0\x9f", b"\x98", b"x"],
    ] {
        let (last, others) = fragments.split_last().unwrap();
        let mut bytes = Vec::new();
        for (index, fragment) in others.iter().enumerate() {
            let opcode = if index == 0 { TEXT_START } else { CONTINUATION };
            bytes.extend(client_frame(opcode, fragment));
        }
        bytes.extend(client_frame(CONTINUATION_END, last));
        scene.is_not_utf8(&bytes).await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn a_character_torn_by_fragments_is_whole_again() {
    let mut scene = Scene::start().await;
    let mut peer = scene.offender(PLAIN).await;
    let mut bytes = client_frame(TEXT_START, b"caf\xc3");
    bytes.extend(client_frame(PING, b"in between"));
    bytes.extend(client_frame(CONTINUATION_END, b"\xa9"));
    peer.write_all(&bytes).await.unwrap();
    scene.plain.hears("café").await;
    scene.json.hears("café").await;
    scene.server.stop().await;
}

#[tokio::test]
async fn a_close_reason_that_is_not_utf8_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    scene
        .is_not_utf8(&client_frame(CLOSE, b"\x03\xe8\xff"))
        .await;
    scene.server.stop().await;
}

#[tokio::test]
async fn a_header_that_declares_too_much_is_refused_before_any_of_it_comes() {
    let mut scene = Scene::start().await;
    for length in [
        MESSAGE_BYTES_MAX as u64 + 1,
        u64::from(u32::MAX),
        1 << 62,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX,
    ] {
        for first_byte in [TEXT, BINARY, TEXT_START] {
            let mut header = vec![first_byte, 0x80 | 127];
            header.extend(length.to_be_bytes());
            header.extend([1, 2, 3, 4]);
            scene.is_too_big(&header).await;
        }
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn a_message_over_the_limit_may_go_on_coming_after_its_end() {
    let server = TestServer::start(config(|config| {
        config.limits.message_bytes = 1000;
    }))
    .await;
    let mut stream = upgraded(&server, "/ws/lobby").await;
    let frame = client_frame(0x81, &[b'x'; 100_000]);
    let mut parts = frame.chunks(700);
    stream.write_all(parts.next().unwrap()).await.unwrap();
    let close = ServerFrame::read(&mut stream).await;
    assert_eq!(close.payload[..2], 1009_u16.to_be_bytes());
    for part in parts {
        // It may be gone for good by now.
        let _ = stream.write_all(part).await;
        tokio::task::yield_now().await;
    }
    drop(stream);
    let is_over = |status: &NodeStatus| status.connections == 0 && status.closed["too_big"] == 1;
    server.until("the end", is_over).await;
}

#[tokio::test]
async fn a_message_over_the_limit_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    let text = vec![b'x'; MESSAGE_BYTES_MAX + 1];
    for first_byte in [TEXT, BINARY] {
        scene.is_too_big(&client_frame(first_byte, &text)).await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn fragments_that_add_up_over_the_limit_end_their_sender_before_the_last() {
    let mut scene = Scene::start().await;
    let half = vec![b'x'; MESSAGE_BYTES_MAX / 2];
    let mut bytes = client_frame(TEXT_START, &half);
    bytes.extend(client_frame(CONTINUATION, &half));
    bytes.extend(client_frame(CONTINUATION, b"x"));
    scene.is_too_big(&bytes).await;
    scene.server.stop().await;
}

#[tokio::test]
async fn a_message_at_the_limit_is_taken_whole_and_in_fragments() {
    let mut scene = Scene::start().await;
    let text = "x".repeat(MESSAGE_BYTES_MAX);
    let mut peer = scene.offender(PLAIN).await;
    peer.write_all(&client_frame(TEXT, text.as_bytes()))
        .await
        .unwrap();
    let (first, second) = text.as_bytes().split_at(100);
    let mut bytes = client_frame(TEXT_START, first);
    bytes.extend(client_frame(CONTINUATION_END, second));
    peer.write_all(&bytes).await.unwrap();
    for _ in 0..2 {
        scene.plain.hears(&text).await;
        scene.json.hears(&text).await;
    }
    drop(peer);
    scene
        .server
        .until("leaving", |status| status.connections == 2)
        .await;
    let mut peer = scene.offender(CENTRIFUGO).await;
    let command = r#"{"id":3,"presence_stats":{"channel":"lobby"}}"#;
    let padded = format!("{command:MESSAGE_BYTES_MAX$}");
    peer.write_all(&client_frame(TEXT, padded.as_bytes()))
        .await
        .unwrap();
    let reply = ServerFrame::read(&mut peer).await;
    let wanted = r#"{"id":3,"presence_stats":{"num_clients":3,"num_users":3}}"#;
    assert_eq!(reply.text(), wanted);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_binary_message_ends_a_centrifugo_peer_alone() {
    let mut scene = Scene::start().await;
    let frame = client_frame(BINARY, br#"{"id":3,"presence":{"channel":"lobby"}}"#);
    scene.is_closed(CENTRIFUGO, &frame, "malformed", 3501).await;
    scene.server.stop().await;
}

#[tokio::test]
async fn what_is_not_a_command_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    for text in [
        "",
        "\n",
        "hello",
        "[]",
        "1",
        "null",
        "{",
        "[{}]",
        r#"{"id":3}"#,
        r#"{"presence":{"channel":"lobby"}}"#,
        r#"{"id":0,"presence":{"channel":"lobby"}}"#,
        r#"{"id":-1,"presence":{"channel":"lobby"}}"#,
        r#"{"id":1.5,"presence":{"channel":"lobby"}}"#,
        r#"{"id":"3","presence":{"channel":"lobby"}}"#,
        r#"{"id":4294967296,"presence":{"channel":"lobby"}}"#,
        r#"{"id":3,"id":4,"presence":{"channel":"lobby"}}"#,
        r#"{"id":3,"presence":{"channel":"lobby"},"history":{"channel":"lobby"}}"#,
        r#"{"id":3,"presence":{"channel":"lobby"}} trailing"#,
        r#"{"id":3,"presence":{"channel":"#,
    ] {
        scene.is_no_command(text).await;
    }
    let deep = "[".repeat(1000);
    scene.is_no_command(&deep).await;
    scene.server.stop().await;
}

#[tokio::test]
async fn a_second_connect_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    scene.is_no_command(r#"{"id":3,"connect":{}}"#).await;
    scene.server.stop().await;
}

#[tokio::test]
async fn a_pong_that_nobody_asked_for_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    scene.is_no_command("{}").await;
    // On the plain way in pongs are WebSocket's own, which may come unasked (RFC 6455, 5.5.3).
    let mut peer = scene.offender(PLAIN).await;
    let mut bytes = client_frame(PONG, b"hello");
    bytes.extend(client_frame(PING, b"mark"));
    peer.write_all(&bytes).await.unwrap();
    let pong = ServerFrame::read(&mut peer).await;
    assert_eq!((pong.opcode, &pong.payload[..]), (0xa, &b"mark"[..]));
    scene.server.stop().await;
}

#[tokio::test]
async fn a_first_command_that_is_not_connect_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    for first in [
        r#"{"id":1,"subscribe":{"channel":"lobby"}}"#,
        r#"{"id":1,"publish":{"channel":"lobby","data":"x"}}"#,
        r#"{"id":1,"dance":{}}"#,
        r#"{"id":1,"connect":5}"#,
        r#"{"send":{"data":1}}"#,
        "{}",
    ] {
        let before = scene.closed().await;
        let mut offender = upgraded(&scene.server, CENTRIFUGO).await;
        let frame = client_frame(TEXT, first.as_bytes());
        offender.write_all(&frame).await.unwrap();
        let goodbye = scene.ends(offender, "malformed", 3501).await;
        assert_eq!(goodbye.before, [], "{first}");
        let after = scene.closed().await;
        assert_eq!(after["malformed"], before["malformed"] + 1, "{first}");
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn a_peer_that_does_not_say_connect_in_time_is_closed_as_stale() {
    let mut scene = Scene::with(|config| config.timeouts.login = Duration::from_millis(200)).await;
    let silent = upgraded(&scene.server, CENTRIFUGO).await;
    let goodbye = scene.ends(silent, "no_login", 3502).await;
    assert_eq!(goodbye.before, []);
    assert!(goodbye.reason.starts_with("stale"), "{goodbye:?}");
    // A peer that only pings has not said who it is either.
    let mut pinging = upgraded(&scene.server, CENTRIFUGO).await;
    let frame = client_frame(PING, b"hello");
    pinging.write_all(&frame).await.unwrap();
    let goodbye = scene.ends(pinging, "no_login", 3502).await;
    assert_eq!(goodbye.before.len(), 1, "the pong: {goodbye:?}");
    assert_eq!(scene.closed().await["no_login"], 2);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_token_where_there_is_no_secret_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    let mut offender = upgraded(&scene.server, CENTRIFUGO).await;
    let frame = client_frame(TEXT, br#"{"id":1,"connect":{"token":"e30.e30.x"}}"#);
    offender.write_all(&frame).await.unwrap();
    let goodbye = scene.ends(offender, "bad_token", 3500).await;
    assert_eq!(goodbye.before, []);
    assert_eq!(scene.closed().await["bad_token"], 1);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_message_for_the_server_ends_its_sender_alone() {
    let mut scene = Scene::start().await;
    for send in [r#"{"send":{"data":1}}"#, r#"{"id":3,"send":{"data":1}}"#] {
        let frame = client_frame(TEXT, send.as_bytes());
        scene
            .is_closed(CENTRIFUGO, &frame, "not_available", 3508)
            .await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn what_is_merely_refused_is_answered_with_an_error_and_the_peer_stays() {
    let mut scene = Scene::with(|config| {
        config.limits.rooms_per_client = 2;
        let mut quiet = config.room_defaults.clone();
        (quiet.history_size, quiet.presence) = (0, false);
        config.rooms.insert("quiet".to_owned(), quiet);
    })
    .await;
    let before = scene.closed().await;
    let mut peer = scene.offender(CENTRIFUGO).await;
    let own = json!({"id": 3, "subscribe": {"channel": "dialog#ada,mallory"}});
    assert!(ask(&mut peer, &own).await["subscribe"].is_object());
    let history = json!({"id": 3, "history": {"channel": "lobby"}});
    let epoch = ask(&mut peer, &history).await["history"]["epoch"].clone();
    let long = "x".repeat(256);
    for (code, refused) in [
        (103, json!({"subscribe": {"channel": "dialog#ada,bob"}})),
        (
            103,
            json!({"publish": {"channel": "dialog#ada", "data": 1}}),
        ),
        (103, json!({"presence": {"channel": "dialog#ada"}})),
        (103, json!({"history": {"channel": "dialog#"}})),
        (103, json!({"subscribe": {"channel": "x", "token": "e30"}})),
        (104, json!({"dance": {}})),
        (105, json!({"subscribe": {"channel": "lobby"}})),
        (106, json!({"subscribe": {"channel": "garden"}})),
        (107, json!({"subscribe": {}})),
        (107, json!({"subscribe": {"channel": ""}})),
        (107, json!({"subscribe": {"channel": "a\nb"}})),
        (107, json!({"subscribe": {"channel": &long}})),
        (107, json!({"subscribe": {"channel": 5}})),
        (107, json!({"subscribe": {"channel": "x", "offset": -1}})),
        (107, json!({"subscribe": "lobby"})),
        (107, json!({"publish": {"channel": "", "data": 1}})),
        (107, json!({"publish": {"channel": "lobby"}})),
        (
            107,
            json!({"history": {"channel": "lobby", "limit": "all"}}),
        ),
        (107, json!({"presence": {"channel": "a\u{7f}"}})),
        (108, json!({"presence": {"channel": "quiet:x"}})),
        (108, json!({"presence_stats": {"channel": "quiet:x"}})),
        (108, json!({"history": {"channel": "quiet:x"}})),
        (108, json!({"rpc": {"method": "sum", "data": 1}})),
        (108, json!({"refresh": {"token": "e30"}})),
        (107, json!({"sub_refresh": {"channel": "x", "token": ""}})),
        (
            112,
            json!({"history": {"channel": "lobby", "limit": -1, "since": {"epoch": "other", "offset": 1}}}),
        ),
        (
            112,
            json!({"history": {"channel": "lobby", "limit": -1, "since": {"epoch": epoch, "offset": 99}}}),
        ),
    ] {
        let mut command = refused.clone();
        command["id"] = json!(7);
        let reply = ask(&mut peer, &command).await;
        assert_eq!(reply["error"]["code"], code, "{refused}: {reply}");
        assert!(reply["error"]["message"].is_string(), "{reply}");
    }
    let fine = json!({"id": 8, "presence_stats": {"channel": "lobby"}});
    assert_eq!(
        ask(&mut peer, &fine).await["presence_stats"]["num_clients"],
        3
    );
    scene.innocents_are_unharmed().await;
    assert_eq!(scene.closed().await, before, "nobody was closed");
    // The innocents' and the dialog, and the personal rooms of three users.
    assert_eq!(scene.server.status().await.num_rooms, 5, "no room stays");
    scene.server.stop().await;
}

#[tokio::test]
async fn commands_before_a_bad_one_in_the_same_frame_are_carried_out_and_answered() {
    let mut scene = Scene::start().await;
    let before = scene.closed().await;
    let mut offender = scene.offender(CENTRIFUGO).await;
    let commands = [
        r#"{"id":3,"publish":{"channel":"lobby","data":"last words"}}"#,
        r#"{"id":4,"presence_stats":{"channel":"lobby"}}"#,
        "and now for something else",
        r#"{"id":5,"publish":{"channel":"lobby","data":"too late"}}"#,
    ];
    let frame = client_frame(TEXT, commands.join("\n").as_bytes());
    offender.write_all(&frame).await.unwrap();
    scene.plain.hears("last words").await;
    scene.json.hears("last words").await;
    let goodbye = scene.ends(offender, "malformed", 3501).await;
    let lines: Vec<_> = goodbye
        .before
        .iter()
        .flat_map(|f| f.text().lines())
        .collect();
    let replies: Vec<_> = lines.iter().filter(|line| !line.contains("push")).collect();
    let wanted = [
        r#"{"id":3,"publish":{}}"#,
        r#"{"id":4,"presence_stats":{"num_clients":3,"num_users":3}}"#,
    ];
    assert_eq!(replies, [&wanted[0], &wanted[1]], "{goodbye:?}");
    assert_eq!(scene.closed().await["malformed"], before["malformed"] + 1);
    scene.server.stop().await;
}

#[tokio::test]
async fn messages_before_a_bad_frame_in_the_same_write_are_delivered_and_none_behind_it() {
    let mut scene = Scene::start().await;
    let mut offender = scene.offender(PLAIN).await;
    let mut bytes = client_frame(TEXT, b"last words");
    bytes.extend(client_frame(PING, b"mark"));
    bytes.extend(client_frame(0x83, b""));
    bytes.extend(client_frame(TEXT, b"too late"));
    offender.write_all(&bytes).await.unwrap();
    scene.plain.hears("last words").await;
    scene.json.hears("last words").await;
    // By now it was told its end, or will be: what it says is no longer heard.
    let _ = offender
        .write_all(&client_frame(TEXT, b"far too late"))
        .await;
    let goodbye = scene.ends(offender, "malformed", 1002).await;
    let pong = goodbye.before.iter().find(|frame| frame.opcode == 0xa);
    assert_eq!(pong.expect("a pong").payload, b"mark");
    scene.server.stop().await;
}

#[tokio::test]
async fn a_peer_that_ends_by_its_own_fault_gets_what_was_published_before_it() {
    let mut scene = Scene::start().await;
    for path in BOTH {
        let mut offender = scene.offender(path).await;
        let words = if path == PLAIN {
            "last words"
        } else {
            r#"{"id":3,"publish":{"channel":"lobby","data":"last words"}}"#
        };
        let mut bytes = client_frame(TEXT, words.as_bytes());
        bytes.extend(client_frame(0x83, b""));
        offender.write_all(&bytes).await.unwrap();
        scene.plain.hears("last words").await;
        scene.json.hears("last words").await;
        let wanted = if path == PLAIN { 1002 } else { 3501 };
        let goodbye = scene.ends(offender, "malformed", wanted).await;
        let own_copy = goodbye.before.iter().filter(|frame| {
            let text = frame.text();
            text == "last words" || text.contains(r#""pub":{"data":"last words""#)
        });
        assert_eq!(own_copy.count(), 1, "{goodbye:?}");
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn nothing_follows_our_close_frame_however_much_is_published() {
    let scene = Scene::with(|config| config.timeouts.close = Duration::from_secs(5)).await;
    for path in BOTH {
        let mut offender = scene.offender(path).await;
        let say = scene.plain.say.clone();
        let publishing = async {
            // Half a megabyte in all, well within what a member may lag.
            for n in 0..2000 {
                say.send(Message::text(format!("{n:200}"))).unwrap();
                tokio::task::yield_now().await;
            }
        };
        let ending = async {
            offender.write_all(&client_frame(0x83, b"")).await.unwrap();
            // It does not hang up before the server does, and reads all that comes.
            Goodbye::read(&mut offender).await
        };
        let (goodbye, ()) = tokio::join!(ending, publishing);
        let wanted = if path == PLAIN { 1002 } else { 3501 };
        assert_eq!(goodbye.code, wanted);
        drop(offender);
        scene
            .server
            .until("leaving", |status| status.connections == 2)
            .await;
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn nothing_follows_the_answer_to_a_close_frame_whatever_was_wrong_before_it() {
    let server = TestServer::start(config(|_| ())).await;
    let mut stream = upgraded(&server, CENTRIFUGO).await;
    let mut bytes = Vec::new();
    for text in [
        r#"{"id":1,"connect":{}}"#,
        // Its own join is a push that waits in the room when the next command ends the session.
        r#"{"id":2,"subscribe":{"channel":"lobby","join_leave":true}}"#,
        "hunter2",
    ] {
        bytes.extend(client_frame(TEXT, text.as_bytes()));
    }
    bytes.extend(client_frame(CLOSE, &1000_u16.to_be_bytes()));
    stream.write_all(&bytes).await.unwrap();
    // Which asserts that there is nothing behind it.
    assert_eq!(Goodbye::read(&mut stream).await.code, 1000);
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_closed_and_those_who_do_stay() {
    let mut scene = Scene::with(|config| {
        config.timeouts.ping = Duration::from_millis(1000);
        config.timeouts.pong = Duration::from_millis(900);
    })
    .await;
    for (path, code) in [(PLAIN, 1001), (CENTRIFUGO, 3012)] {
        let before = scene.closed().await;
        let offender = scene.offender(path).await;
        let goodbye = scene.ends(offender, "no_pong", code).await;
        let ping: (u8, &[u8]) = if path == PLAIN { (9, b"") } else { (1, b"{}") };
        let first = &goodbye.before[0];
        assert_eq!((first.opcode, &first.payload[..]), ping, "{goodbye:?}");
        let mut expected = before;
        *expected.get_mut("no_pong").unwrap() += 1;
        assert_eq!(scene.closed().await, expected);
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn a_peer_that_vanishes_in_the_middle_of_a_frame_takes_nobody_along() {
    let mut scene = Scene::start().await;
    for path in BOTH {
        let before = scene.closed().await;
        let mut offender = scene.offender(path).await;
        let frame = client_frame(TEXT, &[b'x'; 500]);
        offender.write_all(&frame[..250]).await.unwrap();
        drop(offender);
        scene
            .server
            .until("leaving", |status| {
                status.connections == 2 && status.closed["peer_gone"] == before["peer_gone"] + 1
            })
            .await;
        scene.innocents_are_unharmed().await;
    }
    scene.server.stop().await;
}
