//! `/ws/{room}`: plain broadcast over real sockets.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use futures_util::StreamExt as _;
use serde_json::json;
use slabcast::fanout::Fanout;
use support::{ServerFrame, TestServer, client_frame, config, soon, upgraded};
use tokio_tungstenite::tungstenite::{Bytes, Message, protocol::frame::Frame};

#[tokio::test]
async fn everybody_in_the_room_gets_every_message_as_it_was_sent_the_sender_too() {
    let server = TestServer::start(config(|_| ())).await;
    let mut ada = server.plain("/ws/lobby").await;
    let mut bob = server.plain("/ws/lobby").await;
    let mut elsewhere = server.plain("/ws/garden").await;
    server
        .until("joining", |status| {
            status.connections == 3 && status.num_rooms == 2
        })
        .await;
    ada.send("héllo").await;
    ada.send(Message::Binary(Bytes::from_static(&[0, 255, 10])))
        .await;
    for peer in [&mut ada, &mut bob] {
        assert_eq!(peer.next().await, Message::text("héllo"));
        assert_eq!(
            peer.next().await,
            Message::Binary(Bytes::from_static(&[0, 255, 10]))
        );
    }
    elsewhere.send("mine").await;
    assert_eq!(elsewhere.next_text().await, "mine", "and nothing before it");
    server.stop().await;
}

/// Pings are answered without a word from anybody else, so that only the session itself can give others
/// their turn. One thread for all: the test's, too.
#[tokio::test]
async fn a_flood_of_pings_leaves_others_their_turn_after_each_read() {
    let server = TestServer::start(config(|_| ())).await;
    let mut member = upgraded(&server, "/ws/lobby").await;
    let flooder = upgraded(&server, "/ws/garden").await;
    server
        .until("joining", |status| status.subscriptions == 2)
        .await;
    // The server doesn't run before this test waits for something.
    let pings = client_frame(0x89, b"").repeat(1_000);
    let mut sent = 0;
    while let Ok(bytes) = flooder.try_write(&pings) {
        sent += bytes;
    }
    assert!(sent > 1_000_000, "{sent} bytes are no flood");
    member.try_write(&client_frame(0x81, b"hello")).unwrap();
    assert_eq!(ServerFrame::read(&mut member).await.text(), "hello");
    let read = server.node.counters().received_bytes.value();
    assert!(read < sent as u64 / 4, "{read} of {sent} before its turn");
    drop((member, flooder));
    server.stop().await;
}

#[tokio::test]
async fn a_newcomer_gets_what_it_asks_for_of_the_past() {
    let server = TestServer::start(config(|_| ())).await;
    let mut ada = server.plain("/ws/lobby").await;
    for text in ["one", "two", "three"] {
        ada.send(text).await;
        assert_eq!(ada.next_text().await, text);
    }
    let epoch = {
        let mut centrifugo = server.centrifugo("").await;
        let reply = centrifugo
            .ask(json!({"id": 2, "history": {"channel": "lobby"}}))
            .await;
        reply["history"]["epoch"].as_str().unwrap().to_owned()
    };
    for (since, wanted) in [
        ("start", &["one", "two", "three"][..]),
        ("2", &["three"]),
        ("3", &[]),
        ("now", &[]),
        (&format!("{epoch}:1"), &["two", "three"]),
        ("another:1", &["one", "two", "three"]),
    ] {
        let mut late = server.plain(&format!("/ws/lobby?since={since}")).await;
        for text in wanted {
            assert_eq!(late.next_text().await, *text, "since {since}");
        }
        late.send(Message::Ping(Bytes::from_static(b"mark"))).await;
        let next = soon("a pong", late.stream.next()).await.unwrap().unwrap();
        assert_eq!(
            next,
            Message::Pong(Bytes::from_static(b"mark")),
            "nothing more since {since}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_message_arrives_on_both_ways_in_as_each_shows_it() {
    let server = TestServer::start(config(|_| ())).await;
    let mut plain = server.plain("/ws/lobby?uid=ada").await;
    let mut json = server.centrifugo("bob").await;
    json.ask(json!({"id": 2, "subscribe": {"channel": "lobby"}}))
        .await;
    server
        .until("joining", |status| {
            status.rooms.iter().any(|room| room.clients == 2)
        })
        .await;

    plain.send("say \"hi\"").await;
    let push = json.next_json().await;
    assert_eq!(push["push"]["pub"]["data"], "say \"hi\"");
    assert_eq!(push["push"]["pub"]["info"]["user"], "ada");
    plain
        .send(Message::Binary(Bytes::from_static(&[1, 2])))
        .await;
    assert_eq!(
        json.next_json().await["push"]["pub"]["data"],
        json!({"b64": "AQI="})
    );
    assert_eq!(plain.next_text().await, "say \"hi\"");
    assert_eq!(
        plain.next().await,
        Message::Binary(Bytes::from_static(&[1, 2]))
    );

    json.send(r#"{"id":3,"publish":{"channel":"lobby","data":"tea?\n"}}"#)
        .await;
    json.send(r#"{"id":4,"publish":{"channel":"lobby","data":{"b": 1.0, "a":2}}}"#)
        .await;
    assert_eq!(plain.next_text().await, "tea?\n");
    assert_eq!(
        plain.next_text().await,
        r#"{"b": 1.0, "a":2}"#,
        "byte for byte"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_fragmented_message_is_delivered_as_one() {
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let server = TestServer::start(config(|_| ())).await;
    let mut peer = server.plain("/ws/lobby").await;
    for (part, opcode, is_final) in [
        ("a", Data::Text, false),
        ("b", Data::Continue, false),
        ("c", Data::Continue, true),
    ] {
        peer.send(Message::Frame(Frame::message(
            part,
            OpCode::Data(opcode),
            is_final,
        )))
        .await;
    }
    assert_eq!(peer.next_text().await, "abc");
    server.stop().await;
}

#[tokio::test]
async fn a_close_is_answered_with_its_own_code() {
    let server = TestServer::start(config(|_| ())).await;
    let mut peer = server.plain("/ws/lobby").await;
    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
        code: 4321.into(),
        reason: "bye".into(),
    };
    peer.stream.close(Some(frame)).await.unwrap();
    assert_eq!(peer.close_code().await, 4321);
    server
        .until("leaving", |status| {
            status.connections == 0 && status.num_rooms == 0
        })
        .await;
    let status = server.status().await;
    assert_eq!(status.closed["peer_closed"], 1);
    server.stop().await;
}

on_every_engine!(who_has_read_the_101_misses_nothing_that_is_said_from_then_on);

async fn who_has_read_the_101_misses_nothing_that_is_said_from_then_on<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    let mut speaker = server.plain("/ws/lobby").await;
    for number in 0..300 {
        let mut newcomer = server.plain("/ws/lobby").await;
        let said = number.to_string();
        speaker.send(said.as_str()).await;
        assert_eq!(newcomer.next_text().await, said);
        assert_eq!(speaker.next_text().await, said);
    }
    server.stop().await;
}
