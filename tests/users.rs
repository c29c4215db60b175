//! Users and their personal rooms: how all devices of one are reached, and nobody else.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use slabcast::{
    close::{Close, CloseReason},
    fanout::Fanout,
    id::{RoomName, UserId},
    notifier::Instruction,
    publication::{PayloadKind, Publication},
};
use support::{PATIENCE, Peer, Response, TestServer, config, soon};
use tokio::io::AsyncWriteExt as _;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

/// Publishes in the room of that name, and returns how many connections that goes to.
async fn push<F: Fanout>(server: &TestServer<F>, name: &str, text: &'static str) -> usize {
    let publication = Publication::new(PayloadKind::Text, Bytes::from_static(text.as_bytes()));
    let (room, mut batch) = (room(name), vec![publication]);
    let receipt = server.node.publish(&room, &mut batch).await;
    receipt.unwrap().members
}

async fn devices<F: Fanout>(server: &TestServer<F>, name: &str) -> usize {
    server.node.presence(&room(name)).await.len()
}

/// A Centrifugo peer, and what it was told of rooms that it did not ask for.
async fn connected<F: Fanout>(server: &TestServer<F>, user: &str, subs: Value) -> (Peer, Value) {
    let path = format!("/connection/websocket?uid={user}");
    let mut peer = Peer::connect(server.addr, &path).await;
    let mut reply = peer.ask(json!({"id": 1, "connect": {"subs": subs}})).await;
    (peer, reply["connect"]["subs"].take())
}

async fn everything_that_a_user_has_open_gets_a_push_and_nobody_else<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    let (mut phone, subs) = connected(&server, "123", json!({})).await;
    assert!(subs["#123"]["recoverable"].as_bool().unwrap(), "{subs}");
    let mut tablet = server.plain("/ws/lobby?uid=123").await;
    let mut other = server.plain("/ws/lobby?uid=124").await;
    let mut anonymous = server.plain("/ws/lobby").await;
    server
        .until("joining", |status| {
            status
                .rooms
                .iter()
                .any(|room| room.name.as_str() == "lobby" && room.clients == 3)
        })
        .await;
    assert_eq!(devices(&server, "#123").await, 2);
    assert_eq!(push(&server, "#123", "Hello World").await, 2);
    let heard = phone.next_json().await;
    assert_eq!(heard["push"]["channel"], "#123");
    assert_eq!(heard["push"]["pub"]["data"], "Hello World");
    assert_eq!(tablet.next_text().await, "Hello World");
    // What comes next to the others is what comes next to all.
    push(&server, "lobby", "all").await;
    for peer in [&mut tablet, &mut other, &mut anonymous] {
        assert_eq!(peer.next_text().await, "all");
    }
    drop((phone, tablet));
    server
        .until("leaving", |status| status.connections == 2)
        .await;
    assert_eq!(push(&server, "#123", "nobody there").await, 0);
    let (_, subs) = connected(&server, "124", json!({})).await;
    assert!(subs["#123"].is_null(), "{subs}");
}

async fn a_push_that_was_missed_is_recovered_by_a_connection_that_comes_back<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    let (mut peer, subs) = connected(&server, "ada", json!({})).await;
    let epoch = subs["#ada"]["epoch"].clone();
    push(&server, "#ada", "first").await;
    assert_eq!(peer.next_json().await["push"]["pub"]["offset"], 1);
    drop(peer);
    server
        .until("leaving", |status| status.connections == 0)
        .await;
    push(&server, "#ada", "second").await;
    let since = json!({"#ada": {"recover": true, "epoch": epoch, "offset": 1}});
    let (_peer, subs) = connected(&server, "ada", since).await;
    let own = &subs["#ada"];
    assert_eq!(own["recovered"], true, "{own}");
    assert_eq!(own["publications"][0]["data"], "second", "{own}");
    assert_eq!(own["publications"].as_array().unwrap().len(), 1);
    let wrong = json!({"#ada": {"recover": true, "epoch": "other", "offset": 1}});
    let (_peer, subs) = connected(&server, "ada", wrong).await;
    assert!(subs["#ada"]["recovered"].is_null(), "{subs}");
    assert_eq!(subs["#ada"]["offset"], 2, "{subs}");
}

async fn the_server_puts_sessions_into_rooms_and_takes_them_out<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    let (mut json_peer, _) = connected(&server, "ada", json!({})).await;
    let mut plain = server.plain("/ws/lobby?uid=ada").await;
    server
        .until("joining", |status| status.num_rooms == 2)
        .await;
    let node = &server.node;
    let come = Instruction::Subscribe(room("news"));
    assert_eq!(node.instruct(&user("ada"), None, &come), 2);
    assert_eq!(node.instruct(&user("ada"), None, &come), 2, "twice is once");
    assert_eq!(node.instruct(&user("bob"), None, &come), 0);
    let told = json_peer.next_json().await;
    assert_eq!(told["push"]["channel"], "news", "{told}");
    assert!(told["push"]["subscribe"]["epoch"].is_string(), "{told}");
    server
        .until("both", |status| {
            status
                .rooms
                .iter()
                .any(|room| room.name.as_str() == "news" && room.clients == 2)
        })
        .await;
    assert_eq!(push(&server, "news", "hot").await, 2);
    assert_eq!(json_peer.next_json().await["push"]["pub"]["data"], "hot");
    assert_eq!(plain.next_text().await, "hot");
    let go = Instruction::Unsubscribe(room("news"));
    node.instruct(&user("ada"), None, &go);
    let told = json_peer.next_json().await;
    assert_eq!(told["push"]["unsubscribe"]["code"], 2000, "{told}");
    server
        .until("leaving", |status| {
            status
                .rooms
                .iter()
                .all(|room| room.name.as_str() != "news" || room.clients == 0)
        })
        .await;
    assert_eq!(push(&server, "news", "cold").await, 0);
    // Out of the room that it is all about, a plain peer has nothing left.
    node.instruct(&user("ada"), None, &Instruction::Unsubscribe(room("lobby")));
    assert_eq!(plain.close_code().await, 1008);
    let reply = json_peer.ask(json!({"id": 9, "presence_stats": {"channel": "lobby"}}));
    assert!(reply.await["error"].is_null(), "it stays");
}

async fn a_user_or_one_of_their_connections_can_be_sent_away<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|_| ())).await;
    let path = "/connection/websocket?uid=ada";
    let mut first = Peer::connect(server.addr, path).await;
    let reply = first.ask(json!({"id": 1, "connect": {}})).await;
    let id = reply["connect"]["client"].as_str().unwrap().to_owned();
    let mut second = server.centrifugo("ada").await;
    let mut plain = server.plain("/ws/lobby?uid=ada").await;
    let mut bob = server.centrifugo("bob").await;
    server
        .until("joining", |status| status.num_rooms == 3)
        .await;
    let node = &server.node;
    let kick = Close::kicked(4321, "bye");
    assert_eq!(node.disconnect(&user("bob"), Some(&id), &kick), 0);
    assert_eq!(node.disconnect(&user("ada"), Some(&id), &kick), 1);
    let frame = first.close_frame().await;
    assert_eq!((u16::from(frame.code), &*frame.reason), (4321, "bye"));
    drop(first);
    server
        .until("leaving", |status| status.connections == 3)
        .await;
    let kick = CloseReason::Kicked.into();
    assert_eq!(node.disconnect(&user("ada"), None, &kick), 2);
    assert_eq!(second.close_code().await, 3503);
    assert_eq!(plain.close_code().await, 1008);
    let reply = bob.ask(json!({"id": 2, "presence_stats": {"channel": "lobby"}}));
    assert!(reply.await["error"].is_null(), "bob stays");
    server
        .until("three ends", |status| status.closed["kicked"] == 3)
        .await;
}

/// Rooms that the server chose are not counted against what a client may ask for.
async fn personal_rooms_cost_a_client_nothing<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.limits.rooms_per_client = 1;
    }))
    .await;
    let (mut peer, _) = connected(&server, "ada", json!({})).await;
    let reply = peer
        .ask(json!({"id": 2, "subscribe": {"channel": "a"}}))
        .await;
    assert!(reply["error"].is_null(), "{reply}");
    let reply = peer
        .ask(json!({"id": 3, "subscribe": {"channel": "b"}}))
        .await;
    assert_eq!(reply["error"]["code"], 106, "{reply}");
}

/// It could read its replies as slowly as it likes, and hear the room for as long.
async fn a_peer_that_reads_nothing_is_taken_out_of_a_room_all_the_same<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.limits.message_bytes = 4 << 20;
        config.room_defaults.lag_bytes = 8 << 20;
        // Else it would be out of the room because it is closed.
        config.timeouts.write = 2 * PATIENCE;
    }))
    .await;
    let mut ada = server.centrifugo("ada").await;
    let reply = ada
        .ask(json!({"id": 2, "subscribe": {"channel": "lobby"}}))
        .await;
    assert!(reply["subscribe"].is_object(), "{reply}");
    let mut eve = server.plain("/ws/lobby").await;
    let publish = r#"{"id":3,"publish":{"channel":"lobby","data":"in time"}}"#;
    let lines = [vec![publish], vec![r#"{"id":4,"publish":5}"#; 100_000]];
    ada.send(lines.concat().join("\n")).await;
    server
        .until("unread replies", |status| {
            status.connections == 2 && status.sent_bytes > 500_000
        })
        .await;
    let out = Instruction::Unsubscribe(room("lobby"));
    assert_eq!(server.node.instruct(&user("ada"), None, &out), 1);
    soon("its end in the room", async {
        while devices(&server, "lobby").await > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(eve.next_text().await, "in time");
}

/// What is logged of a refusal is what it says, and no payload is ever logged.
#[tokio::test]
async fn a_message_that_was_torn_by_its_own_ampersand_is_not_quoted() {
    let server = TestServer::start(config(|_| ())).await;
    let mut stream = server.raw().await;
    let request = "GET /send?uid=123&message=me&hunter2 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let refused = Response::read(&mut stream).await;
    assert_eq!(refused.status, 400);
    let message = refused.error_message();
    assert!(message.contains("%26"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

async fn who_fills_the_limit_of_rooms_keeps_no_user_out_of_his_own<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| config.limits.rooms = 2)).await;
    let _filling = [server.plain("/ws/a").await, server.plain("/ws/b").await];
    server
        .until("both rooms", |status| status.rooms.len() == 2)
        .await;
    let (mut ada, subs) = connected(&server, "ada", json!({})).await;
    assert!(subs["#ada"].is_object(), "{subs}");
    assert_eq!(push(&server, "#ada", "hi").await, 1);
    assert_eq!(ada.next_json().await["push"]["pub"]["data"], "hi");
    let reply = ada
        .ask(json!({"id": 2, "subscribe": {"channel": "c"}}))
        .await;
    assert_eq!(reply["error"]["code"], 106, "{reply}");
}

on_every_engine!(
    who_fills_the_limit_of_rooms_keeps_no_user_out_of_his_own,
    a_peer_that_reads_nothing_is_taken_out_of_a_room_all_the_same,
    everything_that_a_user_has_open_gets_a_push_and_nobody_else,
    a_push_that_was_missed_is_recovered_by_a_connection_that_comes_back,
    the_server_puts_sessions_into_rooms_and_takes_them_out,
    a_user_or_one_of_their_connections_can_be_sent_away,
    personal_rooms_cost_a_client_nothing,
);
