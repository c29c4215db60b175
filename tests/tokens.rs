//! Tokens: whose a connection is, for how long, and which rooms it may be in.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use slabcast::{
    config::{Config, Secret, SubscribeRight},
    fanout::Fanout,
    id::RoomName,
};
use support::{Peer, Response, TestServer, config, read_head, soon, upgrade_request};
use tokio::io::AsyncWriteExt as _;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CENTRIFUGO: &str = "/connection/websocket";

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn signed_with(secret: &str, algorithm: Algorithm, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(algorithm), claims, &key).unwrap()
}

fn token(claims: &Value) -> String {
    signed_with(SECRET, Algorithm::HS256, claims)
}

fn part(json: &Value) -> String {
    data_encoding::BASE64URL_NOPAD.encode(json.to_string().as_bytes())
}

/// Checks tokens, and gives those who can send a new one `grace` for it.
fn checking(grace: Duration) -> Config {
    config(|config| {
        config.tokens.hmac_secret = Some(Secret::new(SECRET));
        config.timeouts.refresh = grace;
        let mut vip = config.room_defaults.clone();
        vip.subscribe = SubscribeRight::Token;
        config.rooms.insert("vip".to_owned(), vip);
    })
}

async fn server<F: Fanout>() -> TestServer<F> {
    TestServer::on_engine(checking(Duration::from_secs(25))).await
}

async fn connect<F: Fanout>(server: &TestServer<F>, token: &str) -> (Peer, Value) {
    let mut peer = Peer::connect(server.addr, CENTRIFUGO).await;
    let reply = peer
        .ask(json!({"id": 1, "connect": {"token": token}}))
        .await;
    (peer, reply)
}

async fn connected<F: Fanout>(server: &TestServer<F>, claims: Value) -> Peer {
    let (peer, reply) = connect(server, &token(&claims)).await;
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    peer
}

/// What the request for `path` is answered, with that line in its head.
async fn answer<F: Fanout>(server: &TestServer<F>, path: &str, line: &str) -> Response {
    let mut stream = server.raw().await;
    let request = upgrade_request(path, server.addr);
    let request = request.replacen("\r\n", &format!("\r\n{line}"), 1);
    stream.write_all(request.as_bytes()).await.unwrap();
    Response::read(&mut stream).await
}

/// What proves nothing, and a word on why.
fn worthless() -> Vec<(&'static str, String)> {
    let claims = json!({"sub": "ada"});
    let good = token(&claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let none = part(&json!({"alg": "none", "typ": "JWT"}));
    let hs256 = part(&json!({"alg": "HS256", "typ": "JWT"}));
    let other_secret = "another secret, which is long enough";
    vec![
        (
            "by another secret",
            signed_with(other_secret, Algorithm::HS256, &claims),
        ),
        (
            "by another algorithm",
            signed_with(SECRET, Algorithm::HS384, &claims),
        ),
        ("alg none", format!("{none}.{}.", part(&claims))),
        (
            "alg none with a signature",
            format!("{none}.{}.{signature}", part(&claims)),
        ),
        (
            "other claims under the signature",
            format!("{hs256}.{}.{signature}", part(&json!({"sub": "eve"}))),
        ),
        ("no signature", format!("{signed}.")),
        ("not a token", "hunter2".to_owned()),
        (
            "for a room",
            token(&json!({"sub": "ada", "channel": "vip:1"})),
        ),
        (
            "not yet",
            token(&json!({"sub": "ada", "nbf": now_s() + 600})),
        ),
    ]
}

async fn a_token_says_whose_a_connection_is_and_what_others_see_of_it<F: Fanout>() {
    let server = server::<F>().await;
    let claims = json!({"sub": "ada", "info": {"name":"Ada L."}, "channels": ["news"]});
    let (mut ada, reply) = connect(&server, &token(&claims)).await;
    let subs = &reply["connect"]["subs"];
    assert!(
        subs["news"].is_object() && subs["#ada"].is_object(),
        "{reply}"
    );
    assert!(reply["connect"].get("expires").is_none(), "{reply}");
    let mut bob = connected(&server, json!({"sub": "bob"})).await;
    for peer in [&mut ada, &mut bob] {
        let reply = peer
            .ask(json!({"id": 2, "subscribe": {"channel": "lobby"}}))
            .await;
        assert!(reply["subscribe"].is_object(), "{reply}");
    }
    ada.ask(json!({"id": 3, "publish": {"channel": "lobby", "data": 1}}))
        .await;
    let push = bob.next_json().await;
    let info = &push["push"]["pub"]["info"];
    assert_eq!(info["user"], "ada");
    assert_eq!(info["conn_info"], json!({"name": "Ada L."}), "{push}");
}

async fn what_a_token_shows_of_a_member_stays_on_one_line<F: Fanout>() {
    let server = server::<F>().await;
    // As a back end that writes its JSON for people would sign it.
    let claims = "{\"sub\":\"ada\",\n\"info\":{\n\"a\":\n1}}";
    let header = part(&json!({"alg": "HS256"}));
    let message = format!(
        "{header}.{}",
        data_encoding::BASE64URL_NOPAD.encode(claims.as_bytes())
    );
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    let (mut ada, _) = connect(&server, &format!("{message}.{signature}")).await;
    ada.ask(json!({"id": 2, "subscribe": {"channel": "lobby"}}))
        .await;
    ada.send(
        [
            json!({"id": 3, "presence": {"channel": "lobby"}}).to_string(),
            json!({"id": 4, "presence_stats": {"channel": "lobby"}}).to_string(),
        ]
        .join("\n"),
    )
    .await;
    let text = ada.next_text().await;
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
}

async fn what_proves_nothing_opens_nothing<F: Fanout>() {
    let server = server::<F>().await;
    for (what, worthless) in worthless() {
        let mut peer = Peer::connect(server.addr, CENTRIFUGO).await;
        peer.send_json(json!({"id": 1, "connect": {"token": worthless}}))
            .await;
        assert_eq!(peer.close_code().await, 3500, "{what}");
        for path in ["/ws/lobby", "/sse/lobby"] {
            // It is a good one elsewhere, and whose it is is known.
            let status = if what == "for a room" { 403 } else { 401 };
            let refused = answer(&server, &format!("{path}?token={worthless}"), "").await;
            assert_eq!(refused.status, status, "{what} {path}: {refused:?}");
            assert!(!refused.error_message().contains(&worthless), "{what}");
            let header = format!("Authorization: Bearer {worthless}\r\n");
            let refused = answer(&server, path, &header).await;
            assert_eq!(refused.status, status, "{what}");
        }
    }
    // Nor does nothing at all, or a name that one gives oneself.
    let mut peer = Peer::connect(server.addr, &format!("{CENTRIFUGO}?uid=ada")).await;
    peer.send_json(json!({"id": 1, "connect": {}})).await;
    assert_eq!(peer.close_code().await, 3500);
    for path in ["/ws/lobby", "/ws/lobby?uid=ada", "/sse/lobby"] {
        assert_eq!(answer(&server, path, "").await.status, 401, "{path}");
    }
    assert_eq!(server.status().await.users, 0);
}

async fn an_expired_token_wants_a_new_one<F: Fanout>() {
    let server = server::<F>().await;
    let expired = token(&json!({"sub": "ada", "exp": now_s() - 1}));
    let (mut peer, reply) = connect(&server, &expired).await;
    assert_eq!(reply["error"]["code"], 109, "{reply}");
    // The same connection may come with it.
    let fresh = token(&json!({"sub": "ada", "exp": now_s() + 60}));
    let reply = peer
        .ask(json!({"id": 2, "connect": {"token": fresh}}))
        .await;
    assert_eq!(reply["connect"]["expires"], true, "{reply}");
    let ttl = reply["connect"]["ttl"].as_u64().unwrap();
    assert!((58..=60).contains(&ttl), "{reply}");
    for path in ["/ws/lobby", "/sse/lobby"] {
        let refused = answer(&server, &format!("{path}?token={expired}"), "").await;
        assert_eq!(refused.status, 401);
        assert!(refused.error_message().contains("expired"), "{refused:?}");
    }
}

async fn a_name_without_a_proof_is_nobodys_where_others_prove_theirs<F: Fanout>() {
    let mut config = checking(Duration::from_secs(25));
    config.anonymous = Some(true);
    let server = TestServer::<F>::on_engine(config).await;
    let mut nobody = server.plain("/ws/lobby").await;
    nobody.send("hi").await;
    assert_eq!(nobody.next_text().await, "hi");
    assert_eq!(answer(&server, "/ws/lobby?uid=ada", "").await.status, 401);
    let good = token(&json!({"sub": "ada"}));
    let header = format!("Authorization: bearer {good}\r\n");
    assert_eq!(
        answer(&server, "/ws/x%2342%2Cada", &header).await.status,
        101
    );
    assert_eq!(answer(&server, "/ws/x%2342%2Cada", "").await.status, 403);
    // An empty one in the query is none, and hides none.
    for path in ["/ws/x%2342%2Cada?token=", "/sse/x%2342%2Cada?token="] {
        let status = if path.starts_with("/ws") { 101 } else { 200 };
        assert_eq!(answer(&server, path, &header).await.status, status);
        assert_eq!(answer(&server, path, "").await.status, 403);
    }
    // A worthless one does: it is what was brought.
    let path = "/ws/x%2342%2Cada?token=x";
    assert_eq!(answer(&server, path, &header).await.status, 401);
}

async fn a_connection_ends_when_its_token_does_unless_a_new_one_comes<F: Fanout>() {
    let server = TestServer::<F>::on_engine(checking(Duration::from_millis(1500))).await;
    let short = || token(&json!({"sub": "ada", "exp": now_s() + 2}));
    let (mut left_alone, _) = connect(&server, &short()).await;
    let (mut refreshed, _) = connect(&server, &short()).await;
    let longer = token(&json!({"sub": "ada", "exp": now_s() + 600}));
    let reply = refreshed
        .ask(json!({"id": 2, "refresh": {"token": longer}}))
        .await;
    let refresh = &reply["refresh"];
    assert_eq!(refresh["expires"], true, "{reply}");
    assert!(refresh["ttl"].as_u64().unwrap() > 590, "{reply}");
    assert!(refresh["client"].is_string(), "{reply}");
    // The plain way has no way to bring a new one, and so no time for it.
    let path = format!("/ws/lobby?token={}", short());
    let mut plain = server.plain(&path).await;
    let frame = plain.close_frame().await;
    assert_eq!(u16::from(frame.code), 1008);
    assert!(frame.reason.contains("expired"), "{frame:?}");
    let frame = left_alone.close_frame().await;
    assert_eq!(u16::from(frame.code), 3005, "{frame:?}");
    let status = server
        .until("two ends", |status| status.closed["expired"] == 2)
        .await;
    assert_eq!(status.connections, 1);
    let reply = refreshed
        .ask(json!({"id": 3, "subscribe": {"channel": "lobby"}}))
        .await;
    assert!(reply["subscribe"].is_object(), "{reply}");
}

async fn a_refresh_is_for_the_same_user_only<F: Fanout>() {
    let server = server::<F>().await;
    let expires = json!({"sub": "ada", "exp": now_s() + 60});
    for (claims, code) in [
        (json!({"sub": "eve"}), None),
        (json!({"sub": "ada", "exp": now_s() - 1}), Some(109)),
        (json!({"sub": "ada", "channel": "lobby"}), None),
    ] {
        let mut ada = connected(&server, expires.clone()).await;
        let new = token(&claims);
        ada.send_json(json!({"id": 2, "refresh": {"token": new}}))
            .await;
        match code {
            None => assert_eq!(ada.close_code().await, 3500, "{claims}"),
            Some(code) => assert_eq!(ada.next_json().await["error"]["code"], code),
        }
    }
}

async fn a_refresh_takes_no_second_place_of_its_user<F: Fanout>() {
    let mut config = checking(Duration::from_secs(25));
    config.limits.connections_per_user = Some(1);
    let server = TestServer::<F>::on_engine(config).await;
    let claims = json!({"sub": "ada", "exp": now_s() + 60});
    let mut ada = connected(&server, claims.clone()).await;
    for id in 2..4 {
        let refresh = json!({"id": id, "refresh": {"token": token(&claims)}});
        let reply = ada.ask(refresh).await;
        assert!(reply["refresh"].is_object(), "{reply}");
    }
}

async fn a_room_for_token_holders_opens_to_their_own_tokens_only<F: Fanout>() {
    let server = server::<F>().await;
    let right = token(&json!({"sub": "ada", "channel": "vip:1", "info": {"seat": 7}}));
    let wrong = [
        ("", 103),
        (&token(&json!({"sub": "ada", "channel": "vip:2"}))[..], 103),
        (&token(&json!({"sub": "bob", "channel": "vip:1"})), 103),
        (&token(&json!({"sub": "ada"})), 103),
        (
            &token(&json!({"sub": "ada", "channel": "vip:1", "exp": now_s() - 1})),
            109,
        ),
        ("hunter2", 103),
    ];
    let mut ada = connected(&server, json!({"sub": "ada"})).await;
    for (token, code) in wrong {
        let subscribe = json!({"id": 2, "subscribe": {"channel": "vip:1", "token": token}});
        let reply = ada.ask(subscribe).await;
        assert_eq!(reply["error"]["code"], code, "{token}: {reply}");
        for command in ["presence", "presence_stats", "history"] {
            let reply = ada
                .ask(json!({"id": 3, command: {"channel": "vip:1"}}))
                .await;
            assert_eq!(reply["error"]["code"], 103, "{command}: {reply}");
        }
        let publish = json!({"id": 4, "publish": {"channel": "vip:1", "data": 1}});
        assert_eq!(ada.ask(publish).await["error"]["code"], 103);
    }
    let subscribe = json!({"id": 5, "subscribe": {"channel": "vip:1", "token": right}});
    let reply = ada.ask(subscribe).await;
    assert!(reply["subscribe"].is_object(), "{reply}");
    let reply = ada
        .ask(json!({"id": 6, "presence": {"channel": "vip:1"}}))
        .await;
    let there = reply["presence"]["presence"].as_object().unwrap();
    let (_, info) = there.iter().next().unwrap();
    assert_eq!(info["chan_info"], json!({"seat": 7}), "{reply}");
    // On the ways in that have one room, it opens the connection as well.
    let mut plain = server.plain(&format!("/ws/vip:1?token={right}")).await;
    plain.send("hi").await;
    assert_eq!(plain.next_text().await, "hi");
    for path in ["/ws/vip:2", "/sse/vip:2", "/ws/lobby"] {
        let refused = answer(&server, &format!("{path}?token={right}"), "").await;
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
    }
    let mine = token(&json!({"sub": "ada"}));
    let refused = answer(&server, &format!("/ws/vip:1?token={mine}"), "").await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.error_message().contains("token"), "{refused:?}");
}

async fn a_private_room_stays_its_users_whatever_a_token_says<F: Fanout>() {
    let server = server::<F>().await;
    let mut eve = connected(&server, json!({"sub": "eve"})).await;
    let for_eve = token(&json!({"sub": "eve", "channel": "dialog#ada,bob"}));
    for token in ["", &for_eve] {
        let channel = "dialog#ada,bob";
        let subscribe = json!({"id": 2, "subscribe": {"channel": channel, "token": token}});
        assert_eq!(eve.ask(subscribe).await["error"]["code"], 103);
    }
    let mut bob = connected(&server, json!({"sub": "bob"})).await;
    let reply = bob
        .ask(json!({"id": 2, "subscribe": {"channel": "dialog#ada,bob"}}))
        .await;
    assert!(reply["subscribe"].is_object(), "{reply}");
}

async fn a_subscription_ends_when_its_token_does_unless_a_new_one_comes<F: Fanout>() {
    let server = TestServer::<F>::on_engine(checking(Duration::from_millis(500))).await;
    let mut ada = connected(&server, json!({"sub": "ada"})).await;
    for room in ["vip:1", "vip:2"] {
        let short = token(&json!({"sub": "ada", "channel": room, "exp": now_s() + 2}));
        let subscribe = json!({"id": 2, "subscribe": {"channel": room, "token": short}});
        let reply = ada.ask(subscribe).await;
        assert_eq!(reply["subscribe"]["expires"], true, "{reply}");
        assert!(reply["subscribe"]["ttl"].as_u64().unwrap() <= 2, "{reply}");
    }
    let longer = token(&json!({"sub": "ada", "channel": "vip:2", "exp": now_s() + 600}));
    for (claims, code) in [
        (json!({"sub": "eve", "channel": "vip:2"}), 103),
        (json!({"sub": "ada", "channel": "vip:2", "exp": 1}), 109),
        (json!({"sub": "ada"}), 103),
    ] {
        let refresh = json!({"channel": "vip:2", "token": token(&claims)});
        let reply = ada.ask(json!({"id": 3, "sub_refresh": refresh})).await;
        assert_eq!(reply["error"]["code"], code, "{reply}");
    }
    let refresh = json!({"channel": "vip:2", "token": longer});
    let reply = ada.ask(json!({"id": 4, "sub_refresh": refresh})).await;
    assert!(
        reply["sub_refresh"]["ttl"].as_u64().unwrap() > 590,
        "{reply}"
    );
    let push = ada.next_json().await;
    assert_eq!(push["push"]["channel"], "vip:1", "{push}");
    assert_eq!(push["push"]["unsubscribe"]["code"], 2501, "{push}");
    let room = |name| RoomName::parse(name).unwrap();
    assert_eq!(server.node.members(&room("vip:1")).await, 0);
    assert_eq!(server.node.members(&room("vip:2")).await, 1);
    // The connection itself has no end.
    let reply = ada
        .ask(json!({"id": 5, "presence_stats": {"channel": "vip:2"}}))
        .await;
    assert_eq!(reply["presence_stats"]["num_clients"], 1, "{reply}");
}

/// A frame can take longer than a right lasts, for a peer that leaves its replies unread.
async fn what_was_published_before_a_subscription_ended_is_heard_though_its_frame_goes_on<
    F: Fanout,
>() {
    const REFUSED: usize = 100_000;
    let mut config = checking(Duration::from_millis(100));
    config.limits.message_bytes = 4 << 20;
    config.room_defaults.lag_bytes = 8 << 20;
    for room in config.rooms.values_mut() {
        room.lag_bytes = 8 << 20;
    }
    let server = TestServer::<F>::on_engine(config).await;
    let room = RoomName::parse("vip:1").unwrap();
    let mut peers = Vec::new();
    for claims in [
        json!({"sub": "eve", "channel": "vip:1"}),
        json!({"sub": "ada", "channel": "vip:1", "exp": now_s() + 2}),
    ] {
        let mut peer = connected(&server, json!({"sub": claims["sub"]})).await;
        let subscribe = json!({"channel": "vip:1", "token": token(&claims)});
        let reply = peer.ask(json!({"id": 2, "subscribe": subscribe})).await;
        assert!(reply["subscribe"].is_object(), "{reply}");
        peers.push(peer);
    }
    let [mut eve, mut ada] = <[Peer; 2]>::try_from(peers).unwrap_or_else(|_| panic!());
    let publish = r#"{"id":3,"publish":{"channel":"vip:1","data":"in time"}}"#;
    let last = r#"{"id":5,"publish":{"channel":"vip:1","data":"too late"}}"#;
    let lines = [
        vec![publish],
        vec![r#"{"id":4,"publish":5}"#; REFUSED],
        vec![last],
    ];
    // More in answer than the kernel takes, and nobody reads it.
    ada.send(lines.concat().join("\n")).await;
    soon("the end of the subscription", async {
        while server.node.members(&room).await > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let push = eve.next_json().await;
    assert_eq!(push["push"]["pub"]["data"], "in time", "{push}");
    let (mut is_out, mut refused) = (false, 0);
    'replies: loop {
        for line in ada.next_text().await.lines() {
            let said: Value = serde_json::from_str(line).unwrap();
            is_out |= said["push"]["unsubscribe"]["code"] == 2501;
            refused += usize::from(said["id"] == 4);
            if said["id"] == 5 {
                assert_eq!(said["error"]["code"], 103, "{said}");
                break 'replies;
            }
        }
    }
    assert!(is_out);
    assert_eq!(refused, REFUSED);
    assert_eq!(server.status().await.closed["internal"], 0);
}

async fn a_stream_of_events_ends_with_its_token<F: Fanout>() {
    let server = server::<F>().await;
    let short = token(&json!({"sub": "ada", "exp": now_s() + 2}));
    let mut stream = server.raw().await;
    let request = format!(
        "GET /sse/lobby?token={short} HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.addr
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let rest = support::read_to_end(&mut stream).await;
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("expired"), "{rest}");
}

async fn a_token_of_many_years_does_no_harm<F: Fanout>() {
    let server = server::<F>().await;
    for exp in [u64::MAX, i64::MAX as u64, now_s() + (1 << 33)] {
        let (mut peer, reply) = connect(&server, &token(&json!({"sub": "ada", "exp": exp}))).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        let reply = peer
            .ask(json!({"id": 2, "subscribe": {"channel": "lobby"}}))
            .await;
        assert!(reply["subscribe"].is_object(), "{reply}");
    }
}

#[tokio::test]
async fn a_public_key_from_a_file_checks_tokens_and_a_missing_one_is_an_error() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/ed.public.pem");
    let server = TestServer::start(config(|config| {
        config.tokens.public_key_file = Some(key.into());
    }))
    .await;
    let private = EncodingKey::from_ed_pem(include_bytes!("keys/ed.private.pem")).unwrap();
    let good = encode(
        &Header::new(Algorithm::EdDSA),
        &json!({"sub": "ada"}),
        &private,
    )
    .unwrap();
    let (_peer, reply) = connect(&server, &good).await;
    assert!(reply["connect"]["subs"]["#ada"].is_object(), "{reply}");
    // The key is public: nobody signs with it.
    let text = std::fs::read_to_string(key).unwrap();
    let confused = signed_with(&text, Algorithm::HS256, &json!({"sub": "ada"}));
    let mut peer = Peer::connect(server.addr, CENTRIFUGO).await;
    peer.send_json(json!({"id": 1, "connect": {"token": confused}}))
        .await;
    assert_eq!(peer.close_code().await, 3500);

    for file in [
        "/nowhere/tokens.pem",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ] {
        let config = config(|config| config.tokens.public_key_file = Some(file.into()));
        let refused = slabcast::node::Node::<slabcast::fanout::Registry>::new(config);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("tokens.public_key_file"), "{said}");
        assert!(said.contains("PEM"), "{said}");
    }
}

#[tokio::test]
async fn a_flood_of_worthless_tokens_leaves_nothing_behind() {
    let server = server::<slabcast::fanout::Registry>().await;
    for _ in 0..50 {
        let mut peer = Peer::connect(server.addr, CENTRIFUGO).await;
        peer.send_json(json!({"id": 1, "connect": {"token": "x".repeat(9000)}}))
            .await;
        let frame = soon("the end", peer.close_frame()).await;
        assert!(frame.reason.contains("8192"), "{frame:?}");
    }
    let status = server
        .until("their end", |status| status.connections == 0)
        .await;
    assert_eq!((status.users, status.rooms.len()), (0, 0));
}

on_every_engine!(
    a_token_says_whose_a_connection_is_and_what_others_see_of_it,
    what_a_token_shows_of_a_member_stays_on_one_line,
    what_proves_nothing_opens_nothing,
    an_expired_token_wants_a_new_one,
    a_name_without_a_proof_is_nobodys_where_others_prove_theirs,
    a_connection_ends_when_its_token_does_unless_a_new_one_comes,
    a_refresh_is_for_the_same_user_only,
    a_refresh_takes_no_second_place_of_its_user,
    a_room_for_token_holders_opens_to_their_own_tokens_only,
    a_private_room_stays_its_users_whatever_a_token_says,
    a_subscription_ends_when_its_token_does_unless_a_new_one_comes,
    what_was_published_before_a_subscription_ended_is_heard_though_its_frame_goes_on,
    a_stream_of_events_ends_with_its_token,
    a_token_of_many_years_does_no_harm,
);
