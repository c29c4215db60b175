//! Who may do what, how often and how many at once: rights by namespace, and limits by user, address
//! and connection.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use slabcast::{
    config::{Config, PublishRight, RoomConfig, Secret, SubscribeRight},
    fanout::Fanout,
};
use support::{Peer, Response, TestServer, config, soon, upgrade_request};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

const CENTRIFUGO: &str = "/connection/websocket";
const API_KEY: &str = "0123456789abcdef";

/// A namespace, and how its options differ.
type Namespace = (&'static str, fn(&mut RoomConfig));

fn namespaces(all: &[Namespace]) -> Config {
    config(|config| {
        config.api.key = Some(Secret::new(API_KEY));
        for (name, change) in all {
            let mut room = config.room_defaults.clone();
            change(&mut room);
            config.rooms.insert((*name).to_owned(), room);
        }
    })
}

async fn subscribe(peer: &mut Peer, room: &str) -> Value {
    peer.ask(json!({"id": 2, "subscribe": {"channel": room}}))
        .await
}

async fn publish(peer: &mut Peer, room: &str) -> Value {
    peer.send_json(json!({"id": 3, "publish": {"channel": room, "data": 1}}))
        .await;
    loop {
        // Its own publication may come before the reply, or behind it.
        let said = peer.next_json().await;
        if said["id"] == 3 {
            return said;
        }
    }
}

async fn asked<F: Fanout>(server: &TestServer<F>, request: &str) -> Response {
    let mut stream = server.raw().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    Response::read(&mut stream).await
}

async fn upgrade_status<F: Fanout>(server: &TestServer<F>, path: &str) -> u16 {
    asked(server, &upgrade_request(path, server.addr))
        .await
        .status
}

async fn who_may_be_in_a_room_is_said_by_its_namespace<F: Fanout>() {
    let server = TestServer::<F>::on_engine(namespaces(&[
        ("open", |room| room.subscribe = SubscribeRight::Anyone),
        ("named", |room| room.subscribe = SubscribeRight::Users),
        ("token", |room| room.subscribe = SubscribeRight::Token),
        ("pushed", |room| room.subscribe = SubscribeRight::Nobody),
    ]))
    .await;
    for (user, allowed) in [("", &["open"][..]), ("ada", &["open", "named"])] {
        let mut peer = server.centrifugo(user).await;
        for namespace in ["open", "named", "token", "pushed"] {
            let room = format!("{namespace}:1");
            let may = allowed.contains(&namespace);
            let what = format!("{user:?} {room}");
            // Asked before it is in: what was published there and who is there is for members.
            for command in ["history", "presence", "presence_stats"] {
                let reply = peer.ask(json!({"id": 1, command: {"channel": room}})).await;
                assert_eq!(reply["error"].is_null(), may, "{what}: {reply}");
            }
            let reply = publish(&mut peer, &room).await;
            assert_eq!(reply["publish"].is_object(), may, "{what}: {reply}");
            let reply = subscribe(&mut peer, &room).await;
            assert_eq!(reply["subscribe"].is_object(), may, "{what}: {reply}");
            if !may {
                assert_eq!(reply["error"]["code"], 103, "{reply}");
            }
            let path = format!("/ws/{room}?uid={user}");
            let status = upgrade_status(&server, &path).await;
            assert_eq!(status, if may { 101 } else { 403 }, "{what}");
            let sse = format!(
                "GET /sse/{room}?uid={user} HTTP/1.1\r\nHost: {}\r\n\r\n",
                server.addr
            );
            let status = asked(&server, &sse).await.status;
            assert_eq!(status, if may { 200 } else { 403 }, "{what}");
        }
    }
}

async fn whom_the_server_puts_in_a_room_hears_it_whoever_may<F: Fanout>() {
    let server = TestServer::<F>::on_engine(namespaces(&[("pushed", |room| {
        room.subscribe = SubscribeRight::Nobody;
        room.publish = PublishRight::Nobody;
    })]))
    .await;
    let mut ada = server.centrifugo("ada").await;
    for (path, body) in [
        ("/api/subscribe", r#"{"user":"ada","channel":"pushed:1"}"#),
        ("/api/publish", r#"{"channel":"pushed:1","data":"hi"}"#),
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {API_KEY}\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n{body}",
            server.addr,
            body.len()
        );
        assert_eq!(asked(&server, &request).await.status, 200);
        let push = ada.next_json().await;
        assert_eq!(push["push"]["channel"], "pushed:1", "{push}");
    }
    assert_eq!(publish(&mut ada, "pushed:1").await["error"]["code"], 103);
    let reply = ada
        .ask(json!({"id": 4, "history": {"channel": "pushed:1", "limit": -1}}))
        .await;
    let publications = reply["history"]["publications"].as_array().unwrap();
    assert_eq!(publications.len(), 1, "{reply}");
}

async fn who_may_publish_is_said_by_the_namespace<F: Fanout>() {
    let server = TestServer::<F>::on_engine(namespaces(&[
        ("open", |room| room.publish = PublishRight::Anyone),
        ("named", |room| room.publish = PublishRight::Users),
        ("members", |room| room.publish = PublishRight::Members),
        ("quiet", |room| room.publish = PublishRight::Nobody),
    ]))
    .await;
    for (user, outside, inside) in [
        ("", &["open"][..], &["open", "members"][..]),
        ("ada", &["open", "named"], &["open", "named", "members"]),
    ] {
        for namespace in ["open", "named", "members", "quiet"] {
            let mut peer = server.centrifugo(user).await;
            let room = format!("{namespace}:1");
            let reply = publish(&mut peer, &room).await;
            let may = outside.contains(&namespace);
            assert_eq!(
                reply["publish"].is_object(),
                may,
                "{user:?} {room}: {reply}"
            );
            subscribe(&mut peer, &room).await;
            let reply = publish(&mut peer, &room).await;
            let may = inside.contains(&namespace);
            assert_eq!(
                reply["publish"].is_object(),
                may,
                "{user:?} {room}: {reply}"
            );
            if !may {
                assert_eq!(reply["error"]["code"], 103, "{reply}");
            }
            let mut plain = server.plain(&format!("/ws/{room}?uid={user}")).await;
            plain.send("hi").await;
            if may {
                assert_eq!(plain.next_text().await, "hi");
            } else {
                // Nothing is lost in silence.
                let frame = plain.close_frame().await;
                assert_eq!(u16::from(frame.code), 1008, "{frame:?}");
                assert!(frame.reason.contains("only listen"), "{frame:?}");
            }
        }
    }
}

async fn a_user_has_no_more_connections_than_he_may<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.limits.connections_per_user = Some(2);
    }))
    .await;
    let phone = server.centrifugo("ada").await;
    let tablet = server.plain("/ws/lobby?uid=ada").await;
    let mut third = Peer::connect(server.addr, &format!("{CENTRIFUGO}?uid=ada")).await;
    third.send_json(json!({"id": 1, "connect": {}})).await;
    let frame = third.close_frame().await;
    assert_eq!(u16::from(frame.code), 3504, "{frame:?}");
    assert!(frame.reason.contains('2'), "{frame:?}");
    for request in [
        upgrade_request("/ws/lobby?uid=ada", server.addr),
        format!(
            "GET /sse/lobby?uid=ada HTTP/1.1\r\nHost: {}\r\n\r\n",
            server.addr
        ),
    ] {
        let refused = asked(&server, &request).await;
        assert_eq!(refused.status, 429, "{refused:?}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        let message = refused.error_message();
        assert!(message.contains("connections_per_user"), "{message}");
    }
    // Others, and those who have no name, are not he.
    let _bob = server.centrifugo("bob").await;
    let _nobodies = [
        server.plain("/ws/lobby").await,
        server.plain("/ws/lobby").await,
        server.plain("/ws/lobby").await,
    ];
    drop(phone);
    server
        .until("the phone's end", |status| status.connections == 5)
        .await;
    let again = server.plain("/ws/lobby?uid=ada").await;
    drop((tablet, again));
    server.until("their end", |status| status.users == 1).await;
}

async fn an_address_has_no_more_connections_than_it_may<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.limits.connections_per_address = Some(2);
    }))
    .await;
    let mut first = server.plain("/ws/lobby").await;
    // It counts before it has said a word.
    let silent = server.raw().await;
    server
        .until("both", |_| server.node.counters().accepted.value() == 2)
        .await;
    let request = upgrade_request("/ws/lobby", server.addr);
    let refused = asked(&server, &request).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.error_message().contains("connections_per_address"));
    drop(silent);
    soon("a place", async {
        while upgrade_status(&server, "/ws/lobby").await != 101 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    first.send("hi").await;
    assert_eq!(first.next_text().await, "hi", "who was there is not harmed");
}

async fn who_gives_too_many_commands_is_told_and_then_disconnected<F: Fanout>() {
    const LIMIT: usize = 10;
    let server = TestServer::<F>::on_engine(config(|config| {
        config.limits.commands_per_second = Some(LIMIT as u32);
    }))
    .await;
    let mut peer = server.centrifugo("").await;
    subscribe(&mut peer, "lobby").await;
    // Two are spent.
    let command =
        |id: usize| json!({"id": id, "publish": {"channel": "lobby", "data": id}}).to_string();
    let frame = |ids: std::ops::Range<usize>| ids.map(command).collect::<Vec<_>>().join("\n");
    peer.send(frame(10..10 + LIMIT)).await;
    let (mut done, mut refused, mut heard) = (0, 0, 0);
    while done + refused < LIMIT || heard < done {
        for line in peer.next_text().await.lines() {
            let said: Value = serde_json::from_str(line).unwrap();
            if said["publish"].is_object() {
                done += 1;
            } else if said["push"].is_object() {
                heard += 1;
            } else {
                assert_eq!(said["error"]["code"], 111, "{said}");
                assert_eq!(said["error"]["temporary"], true, "{said}");
                refused += 1;
            }
        }
    }
    // The machine may have been slow, which earns one or two; nothing that was refused was done.
    assert!((LIMIT - 2..LIMIT).contains(&done), "{done}");
    assert_eq!(heard, done);
    peer.send(frame(100..100 + 3 * LIMIT)).await;
    let close = peer.close_frame().await;
    assert_eq!(u16::from(close.code), 3013, "{close:?}");
    assert!(close.reason.contains("commands_per_second"), "{close:?}");
}

async fn commands_that_make_no_sense_count_too<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.limits.commands_per_second = Some(5);
    }))
    .await;
    let mut peer = server.centrifugo("").await;
    let frame = vec![r#"{"id":2,"subscribe":5}"#; 50].join("\n");
    peer.send(frame).await;
    let close = peer.close_frame().await;
    assert_eq!(u16::from(close.code), 3013, "{close:?}");
}

async fn a_frame_that_has_to_wait_in_the_middle_is_counted_once<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        // Those that it gives, and not one more.
        config.limits.commands_per_second = Some(403);
        // So narrow that the publisher is held up again and again.
        config.room_defaults.lag_messages = 16;
    }))
    .await;
    let mut peer = server.centrifugo("").await;
    for room in ["even", "odd"] {
        subscribe(&mut peer, room).await;
    }
    // From room to room, so that each command is held up by itself.
    let command = |id: u32| {
        let room = if id.is_multiple_of(2) { "even" } else { "odd" };
        json!({"id": id, "publish": {"channel": room, "data": id}}).to_string()
    };
    peer.send((10..410).map(command).collect::<Vec<_>>().join("\n"))
        .await;
    let (mut replies, mut pushes) = (0, 0);
    while replies < 400 || pushes < 400 {
        for line in peer.next_text().await.lines() {
            let said: Value = serde_json::from_str(line).unwrap();
            assert!(said["error"].is_null(), "{said}");
            match said["push"].is_object() {
                true => pushes += 1,
                false => replies += 1,
            }
        }
    }
}

async fn a_plain_peer_that_sends_too_much_is_closed_with_the_reason<F: Fanout>() {
    let server = TestServer::<F>::on_engine(config(|config| {
        config.limits.commands_per_second = Some(3);
    }))
    .await;
    let mut peer = server.plain("/ws/lobby").await;
    for _ in 0..20 {
        peer.send("hi").await;
    }
    let frame = peer.close_frame().await;
    assert_eq!(u16::from(frame.code), 1008, "{frame:?}");
    assert!(frame.reason.contains("commands_per_second"), "{frame:?}");
    let status = server
        .until("its end", |status| status.closed["rate_limited"] == 1)
        .await;
    assert!((3..=5).contains(&status.published), "{}", status.published);
}

#[tokio::test]
async fn a_connection_that_asks_too_often_is_told_to_wait_and_the_api_key_is_trusted() {
    let server = TestServer::start(config(|config| {
        config.limits.commands_per_second = Some(3);
        config.api.key = Some(Secret::new(API_KEY));
    }))
    .await;
    async fn get(stream: &mut TcpStream, header: &str) -> Response {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Response::read(stream).await
    }
    let mut stream = server.raw().await;
    let mut refused = 0;
    for _ in 0..8 {
        let response = get(&mut stream, "").await;
        if response.status == 429 {
            assert_eq!(response.header("retry-after"), Some("1"));
            assert!(response.error_message().contains("slow down"));
            refused += 1;
        } else {
            assert_eq!(response.status, 200);
        }
    }
    assert!((3..=5).contains(&refused), "{refused}");
    let key = format!("X-API-Key: {API_KEY}\r\n");
    for _ in 0..20 {
        assert_eq!(get(&mut stream, &key).await.status, 200);
    }
    let wrong = format!("X-API-Key: x{API_KEY}\r\n");
    let mut last = 0;
    for _ in 0..8 {
        last = get(&mut stream, &wrong).await.status;
    }
    assert_eq!(last, 429, "a wrong key is nobody's");
}

#[tokio::test]
async fn what_is_refused_for_another_reason_counts_too() {
    let server = TestServer::start(config(|config| {
        config.limits.commands_per_second = Some(3);
    }))
    .await;
    // What is refused for its host ends its connection.
    for target in ["GET /nothing", "PUT /healthz"] {
        let mut stream = server.raw().await;
        let request = format!("{target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut last = 0;
        for _ in 0..8 {
            stream.write_all(request.as_bytes()).await.unwrap();
            last = Response::read(&mut stream).await.status;
        }
        assert_eq!(last, 429, "{target}");
    }
}

on_every_engine!(
    who_may_be_in_a_room_is_said_by_its_namespace,
    whom_the_server_puts_in_a_room_hears_it_whoever_may,
    who_may_publish_is_said_by_the_namespace,
    a_user_has_no_more_connections_than_he_may,
    an_address_has_no_more_connections_than_it_may,
    who_gives_too_many_commands_is_told_and_then_disconnected,
    commands_that_make_no_sense_count_too,
    a_frame_that_has_to_wait_in_the_middle_is_counted_once,
    a_plain_peer_that_sends_too_much_is_closed_with_the_reason,
);
