//! HTTP in, WebSocket out: the server API and `/send`, with good requests and bad ones.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use slabcast::{
    config::{Config, Secret},
    fanout::{Fanout, Registry},
};
use support::{Program, Response, TestServer, config, soon};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

const KEY: &str = "0123456789abcdef";
/// Publications of the long run, and of the one on the engine that is not the default.
const MANY: usize = 100_000;
const FEWER: usize = 20_000;

fn with_key(change: impl FnOnce(&mut Config)) -> Config {
    config(|config| {
        config.api.key = Some(Secret::new(KEY));
        change(config);
    })
}

/// A connection that is kept alive.
struct Client {
    stream: TcpStream,
    addr: SocketAddr,
}

impl Client {
    async fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, addr }
    }

    /// Sends a request with these header lines, and reads the answer.
    async fn ask(&mut self, line: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Response {
        let body = body.as_ref();
        let mut request = format!("{line} HTTP/1.1\r\nHost: {}\r\n", self.addr);
        for header in headers {
            request += &format!("{header}\r\n");
        }
        if !body.is_empty() {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.stream.write_all(body).await.unwrap();
        Response::read(&mut self.stream).await
    }

    /// Calls the API with the key.
    async fn call(&mut self, method: &str, body: impl AsRef<[u8]>) -> Response {
        let line = format!("POST /api/{method}");
        let key = format!("X-API-Key: {KEY}");
        self.ask(&line, &[&key, "Content-Type: application/json"], body)
            .await
    }

    /// The whole answer to a call, which must have been understood.
    async fn reply(&mut self, method: &str, body: Value) -> Value {
        let response = self.call(method, body.to_string()).await;
        assert_eq!(response.status, 200, "{response:?}");
        serde_json::from_str(&response.body).unwrap()
    }

    async fn result(&mut self, method: &str, body: Value) -> Value {
        let mut reply = self.reply(method, body).await;
        assert!(reply["result"].is_object(), "{reply}");
        reply["result"].take()
    }

    /// The code and the message of the refusal.
    async fn refusal(&mut self, method: &str, body: Value) -> (u64, String) {
        let reply = self.reply(method, body).await;
        let error = &reply["error"];
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        (error["code"].as_u64().unwrap_or_default(), message)
    }
}

async fn server_and_client<F: Fanout>() -> (TestServer<F>, Client) {
    let server = TestServer::on_engine(with_key(|_| {})).await;
    let client = Client::new(server.addr).await;
    (server, client)
}

/// A text message as it arrives.
async fn subscribed<F: Fanout>(server: &TestServer<F>, room: &str) -> support::Peer {
    let mut peer = server.centrifugo("ada").await;
    let reply = peer
        .ask(json!({"id": 2, "subscribe": {"channel": room}}))
        .await;
    assert!(reply["subscribe"].is_object(), "{reply}");
    peer
}

mod results {
    use super::*;

    on_every_engine!(
        a_publication_reaches_both_ways_in_without_an_info,
        a_broadcast_reaches_every_room_and_answers_for_each,
        presence_and_its_counts_are_who_is_there,
        history_is_read_and_removed,
        channels_are_rooms_with_members_that_fit,
        tags_reach_whoever_has_a_place_for_them_at_once_and_later,
        what_skips_history_reaches_those_who_are_there_only,
        a_key_publishes_once_for_each_room,
        requests_with_one_key_at_once_publish_once,
        users_are_put_into_rooms_taken_out_and_sent_away,
        a_batch_answers_each_command_in_its_order,
        very_many_publications_arrive_once_and_in_order,
        send_reaches_a_room_and_says_how_many,
        send_never_loses_a_message_silently,
    );

    async fn a_publication_reaches_both_ways_in_without_an_info<F: Fanout>() {
        let (server, mut client) = server_and_client::<F>().await;
        let mut sdk = subscribed(&server, "lobby").await;
        let mut plain = server.plain("/ws/lobby").await;
        server
            .until("both are in", |status| status.rooms[0].clients == 2)
            .await;

        let body = json!({"channel": "lobby", "data": {"text": "hi"}});
        let result = client.result("publish", body).await;
        assert_eq!(result["offset"], 1);
        assert!(!result["epoch"].as_str().unwrap().is_empty());
        let push = sdk.next_json().await;
        let wanted = json!({"data": {"text": "hi"}, "offset": 1});
        assert_eq!(push["push"]["pub"], wanted);
        assert_eq!(plain.next_text().await, r#"{"text":"hi"}"#);

        let body = json!({"channel": "lobby", "b64data": "AP8="});
        client.result("publish", body).await;
        assert_eq!(
            sdk.next_json().await["push"]["pub"]["data"],
            json!({"b64": "AP8="})
        );
        assert_eq!(plain.next().await, Message::binary(vec![0, 255]));
    }

    async fn a_broadcast_reaches_every_room_and_answers_for_each<F: Fanout>() {
        let config = with_key(|config| config.limits.rooms = 2);
        let server = TestServer::<F>::on_engine(config).await;
        let mut client = Client::new(server.addr).await;
        let mut one = server.plain("/ws/one").await;
        let mut two = server.plain("/ws/two").await;
        server
            .until("both are there", |status| status.rooms.len() == 2)
            .await;
        let body = json!({"channels": ["one", "three", "two"], "data": "hi"});
        let result = client.result("broadcast", body).await;
        let responses = result["responses"].as_array().unwrap();
        assert_eq!(responses.len(), 3);
        assert_eq!(responses[0]["result"]["offset"], 1);
        assert_eq!(responses[1]["error"]["code"], 106);
        assert_eq!(responses[2]["result"]["offset"], 1);
        assert_eq!(one.next_text().await, "hi");
        assert_eq!(two.next_text().await, "hi");
    }

    async fn presence_and_its_counts_are_who_is_there<F: Fanout>() {
        let (server, mut client) = server_and_client::<F>().await;
        let _one = subscribed(&server, "lobby").await;
        let _two = subscribed(&server, "lobby").await;
        let body = json!({"channel": "lobby"});
        let stats = client.result("presence_stats", body.clone()).await;
        assert_eq!(stats, json!({"num_clients": 2, "num_users": 1}));
        let presence = client.result("presence", body).await;
        let infos = presence["presence"].as_object().unwrap();
        assert_eq!(infos.len(), 2);
        for (id, info) in infos {
            assert_eq!(info, &json!({"client": id, "user": "ada"}));
        }
        let nobody = client.result("presence", json!({"channel": "empty"})).await;
        assert_eq!(nobody, json!({"presence": {}}));
    }

    async fn history_is_read_and_removed<F: Fanout>() {
        let (server, mut client) = server_and_client::<F>().await;
        for text in ["a", "b", "c"] {
            client
                .result("publish", json!({"channel": "lobby", "data": text}))
                .await;
        }
        let page = client
            .result("history", json!({"channel": "lobby", "limit": 2}))
            .await;
        let data: Vec<_> = page["publications"].as_array().unwrap().iter().collect();
        assert_eq!(
            data,
            [
                &json!({"data": "a", "offset": 1}),
                &json!({"data": "b", "offset": 2})
            ]
        );
        assert_eq!(page["offset"], 3);
        let since = json!({"offset": 3, "epoch": page["epoch"]});
        let body = json!({"channel": "lobby", "limit": -1, "since": since, "reverse": true});
        let page = client.result("history", body).await;
        assert_eq!(page["publications"][0]["data"], "b");
        let body = json!({"channel": "lobby", "since": {"offset": 9, "epoch": ""}});
        assert_eq!(client.refusal("history", body).await.0, 112);

        let _member = subscribed(&server, "lobby").await;
        let body = json!({"channel": "lobby"});
        assert_eq!(client.result("history_remove", body).await, json!({}));
        let page = client
            .result("history", json!({"channel": "lobby", "limit": -1}))
            .await;
        assert_eq!(page["publications"], json!([]));
        assert_eq!(page["offset"], 3, "the numbering goes on");
    }

    async fn channels_are_rooms_with_members_that_fit<F: Fanout>() {
        let (server, mut client) = server_and_client::<F>().await;
        let _one = subscribed(&server, "chat:a").await;
        let _two = subscribed(&server, "chat:a").await;
        let _three = subscribed(&server, "news").await;
        client
            .result("publish", json!({"channel": "chat:b", "data": 1}))
            .await;
        let all = client.result("channels", json!({})).await;
        // Ada's own room as well.
        let wanted = json!({
            "#ada": {"num_clients": 3},
            "chat:a": {"num_clients": 2},
            "news": {"num_clients": 1},
        });
        assert_eq!(all["channels"], wanted);
        let some = client
            .result("channels", json!({"pattern": "chat:*"}))
            .await;
        assert_eq!(some["channels"], json!({"chat:a": {"num_clients": 2}}));

        let info = client.result("info", json!({})).await;
        let node = &info["nodes"][0];
        assert_eq!(info["nodes"].as_array().unwrap().len(), 1);
        assert_eq!(node["uid"], server.node.id());
        let counts = ["num_clients", "num_users", "num_subs", "num_channels"];
        assert_eq!(
            counts.map(|name| node[name].as_u64().unwrap()),
            [3, 1, 6, 3]
        );
    }

    async fn tags_reach_whoever_has_a_place_for_them_at_once_and_later<F: Fanout>() {
        let (server, mut client) = server_and_client::<F>().await;
        let mut sdk = subscribed(&server, "lobby").await;
        let mut plain = server.plain("/ws/lobby").await;
        server
            .until("both are in", |status| status.rooms[0].clients == 2)
            .await;
        let tags = json!({"lang": "de", "a\"b": "\n"});
        let body = json!({"channel": "lobby", "data": 1, "tags": tags});
        client.result("publish", body).await;
        let body = json!({"channels": ["lobby"], "data": 2, "tags": tags, "idempotency_key": "k"});
        for _ in 0..2 {
            client.result("broadcast", body.clone()).await;
        }
        client
            .result(
                "publish",
                json!({"channel": "lobby", "data": 3, "tags": {}}),
            )
            .await;
        let wanted = [
            json!({"data": 1, "offset": 1, "tags": tags}),
            json!({"data": 2, "offset": 2, "tags": tags}),
            json!({"data": 3, "offset": 3}),
        ];
        for (publication, text) in wanted.iter().zip(["1", "2", "3"]) {
            assert_eq!(&sdk.next_json().await["push"]["pub"], publication);
            assert_eq!(plain.next_text().await, text);
        }
        let body = json!({"channel": "lobby", "limit": -1});
        let page = client.result("history", body).await;
        assert_eq!(page["publications"], json!(wanted));
        let recovery = json!({"channel": "lobby", "recover": true, "offset": 1});
        let mut late = server.centrifugo("bob").await;
        let reply = late.ask(json!({"id": 2, "subscribe": recovery})).await;
        assert_eq!(reply["subscribe"]["publications"], json!(wanted[1..]));
    }

    async fn what_skips_history_reaches_those_who_are_there_only<F: Fanout>() {
        let (server, mut client) = server_and_client::<F>().await;
        let mut sdk = subscribed(&server, "lobby").await;
        let mut plain = server.plain("/ws/lobby").await;
        server
            .until("both are in", |status| status.rooms[0].clients == 2)
            .await;
        let kept = |data: u32| json!({"channel": "lobby", "data": data, "skip_history": false});
        assert_eq!(client.result("publish", kept(1)).await["offset"], 1);
        let mut fleeting = kept(2);
        fleeting["skip_history"] = true.into();
        fleeting["tags"] = json!({"a": "b"});
        fleeting["idempotency_key"] = "k".into();
        for _ in 0..2 {
            let result = client.result("publish", fleeting.clone()).await;
            assert_eq!(result, json!({}), "it has no place");
        }
        let body = json!({"channels": ["lobby"], "data": 3, "skip_history": true});
        let result = client.result("broadcast", body).await;
        assert_eq!(result, json!({"responses": [{"result": {}}]}));
        assert_eq!(client.result("publish", kept(4)).await["offset"], 2);

        let kept = [
            json!({"data": 1, "offset": 1}),
            json!({"data": 4, "offset": 2}),
        ];
        let all = [
            kept[0].clone(),
            json!({"data": 2, "tags": {"a": "b"}}),
            json!({"data": 3}),
            kept[1].clone(),
        ];
        for publication in &all {
            assert_eq!(&sdk.next_json().await["push"]["pub"], publication);
            assert_eq!(plain.next_text().await, publication["data"].to_string());
        }
        let body = json!({"channel": "lobby", "limit": -1});
        let page = client.result("history", body).await;
        assert_eq!(
            (&page["publications"], &page["offset"]),
            (&json!(kept), &json!(2))
        );
        let mut late = server.centrifugo("bob").await;
        let recovery = json!({"channel": "lobby", "recover": true, "offset": 1});
        let reply = late.ask(json!({"id": 2, "subscribe": recovery})).await;
        assert_eq!(reply["subscribe"]["recovered"], true);
        assert_eq!(reply["subscribe"]["publications"], json!(kept[1..]));
    }

    async fn a_key_publishes_once_for_each_room<F: Fanout>() {
        let (_server, mut client) = server_and_client::<F>().await;
        let body = json!({"channel": "a", "data": 1, "idempotency_key": "k"});
        let first = client.result("publish", body.clone()).await;
        assert_eq!(client.result("publish", body).await, first);
        let body = json!({"channels": ["a", "b"], "data": 1, "idempotency_key": "k"});
        let both = client.result("broadcast", body).await;
        assert_eq!(both["responses"][0]["result"], first);
        assert_eq!(both["responses"][1]["result"]["offset"], 1);
        let body = json!({"channel": "a", "data": 1, "idempotency_key": "l"});
        assert_eq!(client.result("publish", body).await["offset"], 2);
        let body = json!({"channel": "a", "data": 1, "idempotency_key": ""});
        assert_eq!(client.result("publish", body).await["offset"], 3);
    }

    async fn requests_with_one_key_at_once_publish_once<F: Fanout>() {
        let (server, mut client) = server_and_client::<F>().await;
        let addr = server.addr;
        let asking = (0..8).map(|_| async move {
            let mut client = Client::new(addr).await;
            let body = json!({"channel": "a", "data": 1, "idempotency_key": "k"});
            client.result("publish", body).await["offset"].as_u64()
        });
        for offset in futures_util::future::join_all(asking).await {
            assert_eq!(offset, Some(1));
        }
        let page = client.result("history", json!({"channel": "a"})).await;
        assert_eq!(page["offset"], 1);
    }

    async fn users_are_put_into_rooms_taken_out_and_sent_away<F: Fanout>() {
        let (server, mut client) = server_and_client::<F>().await;
        let mut ada = server.centrifugo("ada").await;
        let mut bob = server.centrifugo("bob").await;
        for body in [
            json!({"user": "ada", "channel": "news"}),
            json!({"user": "nobody", "channel": "news"}),
        ] {
            assert_eq!(client.result("subscribe", body).await, json!({}));
        }
        let told = ada.next_json().await;
        assert!(told["push"]["subscribe"].is_object(), "{told}");
        client
            .result("publish", json!({"channel": "news", "data": 1}))
            .await;
        assert_eq!(ada.next_json().await["push"]["pub"]["data"], 1);
        client
            .result("unsubscribe", json!({"user": "ada", "channel": "news"}))
            .await;
        let told = ada.next_json().await;
        assert_eq!(told["push"]["unsubscribe"]["code"], 2000);
        let foreign = json!({"user": "ada", "channel": "#bob"});
        assert_eq!(client.refusal("subscribe", foreign).await.0, 103);

        let other_client = json!({"user": "ada", "client": "none of these"});
        client.result("disconnect", other_client).await;
        let body = json!({"user": "ada", "disconnect": {"code": 4500, "reason": "bye"}});
        client.result("disconnect", body).await;
        let frame = ada.close_frame().await;
        assert_eq!((u16::from(frame.code), &*frame.reason), (4500, "bye"));
        client.result("disconnect", json!({"user": "bob"})).await;
        assert_eq!(bob.close_code().await, 3503);
    }

    async fn a_batch_answers_each_command_in_its_order<F: Fanout>() {
        let (_server, mut client) = server_and_client::<F>().await;
        let commands = json!([
            {"publish": {"channel": "a", "data": 1}},
            {"history": {"channel": "a", "since": {"offset": 9, "epoch": ""}}},
            {"presence_stats": {"channel": "a"}},
        ]);
        let reply = client
            .reply("batch", json!({"commands": commands, "parallel": true}))
            .await;
        let replies = reply["replies"].as_array().unwrap();
        assert_eq!(replies[0]["publish"]["offset"], 1);
        assert_eq!(replies[1]["error"]["code"], 112);
        assert_eq!(replies[2]["presence_stats"]["num_clients"], 0);

        // The older form.
        let key = format!("Authorization: apikey {KEY}");
        let lines = "{\"method\":\"publish\",\"params\":{\"channel\":\"a\",\"data\":2}}\n{\"method\":\"info\"}";
        let response = client.ask("POST /api", &[&key], lines).await;
        let lines: Vec<Value> = response
            .body
            .split('\n')
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["result"]["offset"], 2);
        assert!(lines[1]["result"]["nodes"].is_array());
    }

    /// Pipelined over a few kept connections: each sends its publications in order and reads the
    /// answers behind them.
    async fn very_many_publications_arrive_once_and_in_order<F: Fanout>() {
        const CONNECTIONS: usize = 4;
        let many = if F::NAME == Registry::NAME {
            MANY
        } else {
            FEWER
        };
        let (server, _) = server_and_client::<F>().await;
        let mut sdk = subscribed(&server, "lobby").await;
        let mut plain = server.plain("/ws/lobby").await;
        server
            .until("both are in", |status| status.rooms[0].clients == 2)
            .await;
        let publishing = (0..CONNECTIONS).map(|connection| {
            tokio::spawn(publish_in_order(
                server.addr,
                connection,
                many / CONNECTIONS,
            ))
        });
        let publishing: Vec<_> = publishing.collect();
        let start = tokio::time::Instant::now();
        let on_plain = async {
            let mut next = [0; CONNECTIONS];
            for _ in 0..many {
                let data: [usize; 2] = serde_json::from_str(&plain.next_text().await).unwrap();
                assert_eq!(data[1], next[data[0]], "of connection {}", data[0]);
                next[data[0]] += 1;
            }
        };
        let on_sdk = async {
            let mut next = [0; CONNECTIONS];
            for offset in 1..=many {
                let push = sdk.next_json().await;
                let publication = &push["push"]["pub"];
                assert_eq!(publication["offset"], offset);
                let data: [usize; 2] = serde_json::from_value(publication["data"].clone()).unwrap();
                assert_eq!(data[1], next[data[0]], "of connection {}", data[0]);
                next[data[0]] += 1;
            }
        };
        tokio::join!(on_plain, on_sdk);
        for published in publishing {
            published.await.unwrap();
        }
        println!(
            "{many} publications in {:?} on {}",
            start.elapsed(),
            F::NAME
        );
        let status = server.status().await;
        assert_eq!(status.published, many as u64);
    }

    async fn publish_in_order(addr: SocketAddr, connection: usize, count: usize) {
        /// Requests that are sent before their answers are read.
        const WINDOW: usize = 50;
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let mut answers = Vec::new();
        for window in 0..count / WINDOW {
            let mut requests = String::new();
            for number in window * WINDOW..(window + 1) * WINDOW {
                let body = format!("{{\"channel\":\"lobby\",\"data\":[{connection},{number}]}}");
                requests += &format!(
                    "POST /api/publish HTTP/1.1\r\nHost: {addr}\r\nX-API-Key: {KEY}\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
            stream.write_all(requests.as_bytes()).await.unwrap();
            let mut done = 0;
            answers.clear();
            while done < WINDOW {
                let read = soon("answers", stream.read_buf(&mut answers))
                    .await
                    .unwrap();
                assert_ne!(read, 0, "closed after {window} windows");
                done = answers
                    .windows(9)
                    .filter(|bytes| bytes == b"{\"result\"")
                    .count();
            }
        }
    }

    async fn send_reaches_a_room_and_says_how_many<F: Fanout>() {
        let (server, mut client) = server_and_client::<F>().await;
        let mut plain = server.plain("/ws/lobby").await;
        let mut own = server.plain("/ws/elsewhere?uid=123").await;
        server
            .until("all rooms are there", |status| status.rooms.len() == 3)
            .await;
        let answer = client
            .ask("POST /send?room=lobby", &[], "hello there")
            .await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, r#"{"queued":1}"#)
        );
        assert_eq!(plain.next_text().await, "hello there");
        let answer = client
            .ask("GET /send?uid=123&message=Hello%20World", &[], "")
            .await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, r#"{"queued":1}"#)
        );
        assert_eq!(own.next_text().await, "Hello World");
        let types = [
            (
                "Content-Type: application/json",
                "{\"a\":\n1}",
                Message::text("{\"a\": 1}"),
            ),
            (
                "Content-Type: application/octet-stream",
                "x",
                Message::binary("x".as_bytes()),
            ),
            (
                "Content-Type: application/x-www-form-urlencoded",
                "a+b",
                Message::text("a+b"),
            ),
        ];
        for (media_type, body, heard) in types {
            let answer = client
                .ask("POST /send?room=lobby", &[media_type], body)
                .await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(plain.next().await, heard);
        }
    }

    async fn send_never_loses_a_message_silently<F: Fanout>() {
        let (server, mut client) = server_and_client::<F>().await;
        for (path, said) in [
            ("uid=123", "user \"123\" is not connected"),
            ("room=lobby", "nobody is in room"),
        ] {
            let answer = client
                .ask(&format!("POST /send?{path}"), &[], "hello")
                .await;
            assert_eq!(answer.status, 404);
            let message = answer.error_message();
            assert!(
                message.contains(said) && message.contains("not published"),
                "{message}"
            );
        }
        assert_eq!(server.status().await.published, 0);
        assert_eq!(server.status().await.rooms, []);
    }
}

mod refusals {
    use super::*;

    /// Everything that is below `/api`, and `/api` itself.
    const EVERY_CALL: [&str; 13] = [
        "",
        "/batch",
        "/publish",
        "/broadcast",
        "/presence",
        "/presence_stats",
        "/history",
        "/history_remove",
        "/channels",
        "/info",
        "/subscribe",
        "/unsubscribe",
        "/disconnect",
    ];

    #[tokio::test]
    async fn without_the_key_nothing_is_answered() {
        let (server, mut client) = server_and_client::<Registry>().await;
        let wrong = format!("X-API-Key: {KEY}x");
        let mut bodies = Vec::new();
        for headers in [
            &[][..],
            &["X-API-Key: "],
            &[&wrong],
            &["Authorization: Bearer x"],
        ] {
            for call in EVERY_CALL {
                let line = format!("POST /api{call}");
                let body = r#"{"channel":"a","data":1}"#;
                let answer = client.ask(&line, headers, body).await;
                assert_eq!(answer.status, 401, "{line}");
                assert!(answer.error_message().contains("X-API-Key: KEY"));
                assert_eq!(answer.header("www-authenticate"), Some("apikey"));
                bodies.push(answer.body);
            }
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "no key and a wrong one are told the same");
        assert_eq!(server.status().await.published, 0);
    }

    #[tokio::test]
    async fn a_body_that_is_no_json_is_a_bad_request() {
        let (server, mut client) = server_and_client::<Registry>().await;
        for (body, said) in [
            (&b"{"[..], "line 1 column 1"),
            (b"{\"channel\":\"a\",\"data\":1", "line 1 column 23"),
            (b"not json", "line 1 column "),
            (b"{\"channel\":\"a\",\"data\":1}}", "trailing characters"),
            (b"{\"channel\":\"\xff\"}", "not UTF-8 from byte 12 on"),
        ] {
            let answer = client.call("publish", body).await;
            assert_eq!(answer.status, 400, "{answer:?}");
            let message = answer.error_message();
            assert!(message.contains(said), "{message}");
        }
        assert_eq!(server.status().await.published, 0);
    }

    #[tokio::test]
    async fn a_request_that_makes_no_sense_is_error_107() {
        let (server, mut client) = server_and_client::<Registry>().await;
        for (method, body, said) in [
            ("publish", json!({}), "channel is missing"),
            ("publish", json!({"channel": "a"}), "data is missing"),
            (
                "publish",
                json!({"channel": 1, "data": 1}),
                "expected a string",
            ),
            (
                "publish",
                json!({"channel": "a", "dta": 1}),
                "unknown field `dta`",
            ),
            (
                "publish",
                json!({"channel": "x".repeat(256), "data": 1}),
                "256 bytes exceeds 255",
            ),
            ("publish", json!({"channel": "a", "b64data": "?"}), "base64"),
            ("publish", json!(["a", 1]), "must be an object"),
            (
                "broadcast",
                json!({"channels": "a", "data": 1}),
                "expected a sequence",
            ),
            (
                "broadcast",
                json!({"channels": [], "data": 1}),
                "channels is missing or empty",
            ),
            (
                "history",
                json!({"channel": "a", "limit": "1"}),
                "expected i32",
            ),
            ("channels", json!({"pattern": "[a]"}), "'['"),
            ("batch", json!({}), "missing field `commands`"),
            (
                "batch",
                json!({"commands": [{"publish": {}}]}),
                "commands[0]: channel is missing",
            ),
        ] {
            let (code, message) = client.refusal(method, body.clone()).await;
            assert_eq!(code, 107, "{body}: {message}");
            assert!(message.contains(said), "{body}: {message}");
        }
        let unknown = client
            .refusal("batch", json!({"commands": [{"dance": {}}]}))
            .await;
        assert_eq!(unknown.0, 104);
        assert_eq!(server.status().await.published, 0);
    }

    #[tokio::test]
    async fn nothing_is_half_done() {
        let (server, mut client) = server_and_client::<Registry>().await;
        let body = json!({"channels": ["a", "b", ""], "data": 1});
        assert_eq!(client.refusal("broadcast", body).await.0, 107);
        let good = json!({"publish": {"channel": "a", "data": 1}});
        let bad = json!({"publish": {"channel": "a"}});
        assert_eq!(
            client
                .refusal("batch", json!({"commands": [good, bad]}))
                .await
                .0,
            107
        );
        assert_eq!(server.status().await.published, 0);
    }

    #[tokio::test]
    async fn a_room_that_keeps_nothing_says_so() {
        let config = with_key(|config| {
            config.room_defaults.history_size = 0;
            config.room_defaults.presence = false;
        });
        let server = TestServer::start(config).await;
        let mut client = Client::new(server.addr).await;
        for method in ["presence", "presence_stats", "history", "history_remove"] {
            assert_eq!(
                client.refusal(method, json!({"channel": "a"})).await.0,
                108,
                "{method}"
            );
        }
        let result = client
            .result("publish", json!({"channel": "a", "data": 1}))
            .await;
        assert_eq!(result, json!({}), "there is no position");
    }

    #[tokio::test]
    async fn errors_are_statuses_for_those_who_ask_for_that() {
        let config = with_key(|config| config.room_defaults.presence = false);
        let server = TestServer::start(config).await;
        let mut client = Client::new(server.addr).await;
        let key = format!("X-API-Key: {KEY}");
        let headers = [key.as_str(), "X-Centrifugo-Error-Mode: transport"];
        for (path, body, status, code) in [
            ("publish", "{}", 400, 107),
            (
                "history",
                r#"{"channel":"a","since":{"offset":9}}"#,
                416,
                112,
            ),
            ("batch", r#"{"commands":[{"dance":{}}]}"#, 404, 104),
            ("presence", r#"{"channel":"a"}"#, 400, 108),
        ] {
            let answer = client
                .ask(&format!("POST /api/{path}"), &headers, body)
                .await;
            assert_eq!(answer.status, status, "{answer:?}");
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["code"], code, "{body}");
            assert!(body["message"].is_string(), "{body}");
        }
        let good = r#"{"channel":"a","data":1}"#;
        let answer = client.ask("POST /api/publish", &headers, good).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.starts_with("{\"result\":"), "{answer:?}");
    }

    #[tokio::test]
    async fn other_types_encodings_methods_and_paths_are_refused() {
        let (_server, mut client) = server_and_client::<Registry>().await;
        let key = format!("X-API-Key: {KEY}");
        for header in ["Content-Type: text/plain", "Content-Encoding: gzip"] {
            let answer = client.ask("POST /api/publish", &[&key, header], "{}").await;
            assert_eq!(answer.status, 415, "{header}");
            answer.error_message();
            // What was not read of it must not be taken for a request.
            client = Client::new(client.addr).await;
        }
        let answer = client.ask("GET /api/publish", &[&key], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
        let answer = client.ask("POST /api/dance", &[&key], "").await;
        assert_eq!(answer.status, 404);
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused_and_its_sender_hears_it() {
        let server = TestServer::start(with_key(|config| config.limits.message_bytes = 1000)).await;
        let key = format!("X-API-Key: {KEY}");
        let body = json!({"channel": "a", "data": "x".repeat(400_000)}).to_string();
        let answer = Client::new(server.addr).await.call("publish", &body).await;
        assert_eq!(answer.status, 413);
        assert!(
            answer.error_message().contains("263477 bytes"),
            "{answer:?}"
        );
        assert_eq!(answer.header("connection"), Some("close"));

        // Announced, and not sent before our word.
        let mut client = Client::new(server.addr).await;
        let head = format!(
            "POST /api/publish HTTP/1.1\r\nHost: {}\r\n{key}\r\nExpect: 100-continue\r\n\
             Content-Length: 400000\r\n\r\n",
            server.addr
        );
        client.stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(Response::read(&mut client.stream).await.status, 413);

        // Within the body's limit, and over the message's.
        let mut client = Client::new(server.addr).await;
        let body = json!({"channel": "a", "data": "x".repeat(1000)});
        let (code, message) = client.refusal("publish", body).await;
        assert_eq!(code, 107);
        assert!(message.contains("1002 bytes exceeds 1000"), "{message}");
        let answer = client.ask("POST /send?room=a", &[], "x".repeat(1001)).await;
        assert_eq!(answer.status, 413);
        let line = format!("GET /send?room=a&message={}", "x".repeat(1001));
        let answer = Client::new(server.addr).await.ask(&line, &[], "").await;
        assert_eq!(answer.status, 413);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let config = with_key(|config| config.timeouts.request_body = Duration::from_millis(200));
        let server = TestServer::start(config).await;
        let mut client = Client::new(server.addr).await;
        let head = format!(
            "POST /api/publish HTTP/1.1\r\nHost: {}\r\nX-API-Key: {KEY}\r\nContent-Length: 9\r\n\r\n{{",
            server.addr
        );
        client.stream.write_all(head.as_bytes()).await.unwrap();
        let answer = Response::read(&mut client.stream).await;
        assert_eq!(answer.status, 408);
        answer.error_message();
        assert!(support::read_to_end(&mut client.stream).await.is_empty());
    }

    #[tokio::test]
    async fn line_ends_in_data_do_not_end_a_push() {
        let (server, mut client) = server_and_client::<Registry>().await;
        let mut sdk = subscribed(&server, "lobby").await;
        let body = "{\"channel\":\"lobby\",\n\"data\":{\r\n  \"a\":\n\"x\\ny\"}}";
        assert_eq!(client.call("publish", body).await.status, 200);
        let push = sdk.next_text().await;
        assert!(!push.contains(['\n', '\r']), "{push}");
        let push: Value = serde_json::from_str(&push).unwrap();
        assert_eq!(push["push"]["pub"]["data"], json!({"a": "x\ny"}));
    }
}

mod sending {
    use super::*;

    #[tokio::test]
    async fn what_is_not_a_message_for_somebody_is_a_bad_request() {
        let (server, mut client) = server_and_client::<Registry>().await;
        let _member = server.plain("/ws/lobby").await;
        server
            .until("it is in", |status| status.rooms.len() == 1)
            .await;
        for (line, body, said) in [
            ("GET /send", "", "uid or room is missing"),
            ("GET /send?room=lobby", "", "message is missing"),
            ("GET /send?room=lobby&message=", "", "empty"),
            (
                "GET /send?uid=1&room=lobby&message=a",
                "",
                "both uid and room",
            ),
            ("GET /send?uid=&message=a", "", "uid is empty"),
            ("GET /send?uid=1%2C2&message=a", "", "separates users"),
            ("GET /send?uid=a%23b&message=a", "", "separates users"),
            ("GET /send?room=&message=a", "", "room name is empty"),
            ("GET /send?room=lobby&room=lobby&message=a", "", "twice"),
            ("GET /send?room=lobby&mesage=a", "", "\"mesage\""),
            ("GET /send?room=lobby&message=%FF", "", "not UTF-8"),
            ("POST /send?room=lobby", "", "empty"),
            (
                "POST /send?room=lobby&message=a",
                "b",
                "both a body and message",
            ),
        ] {
            let answer = client.ask(line, &[], body).await;
            assert_eq!(answer.status, 400, "{line}");
            let message = answer.error_message();
            assert!(message.contains(said), "{line}: {message}");
            client = Client::new(server.addr).await;
        }
        let json = ["Content-Type: application/json"];
        let answer = client.ask("POST /send?room=lobby", &json, "{").await;
        assert_eq!(answer.status, 400);
        let form = ["Content-Type: multipart/form-data; boundary=x"];
        let answer = client.ask("POST /send?room=lobby", &form, "x").await;
        assert_eq!(answer.status, 415);
        assert_eq!(server.status().await.published, 0);
    }

    #[tokio::test]
    async fn pages_of_other_sites_may_not_send_without_the_key() {
        let (server, mut client) = server_and_client::<Registry>().await;
        let _member = server.plain("/ws/lobby").await;
        server
            .until("it is in", |status| status.rooms.len() == 1)
            .await;
        let own = format!("Origin: http://{}", server.addr);
        let line = "GET /send?room=lobby&message=a";
        for foreign in [
            "Origin: http://evil.example",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            let answer = client.ask(line, &[foreign], "").await;
            assert_eq!(answer.status, 403, "{foreign}");
            answer.error_message();
        }
        assert_eq!(server.status().await.published, 0);
        for own in [
            own.as_str(),
            "Sec-Fetch-Site: same-origin",
            "Sec-Fetch-Site: none",
        ] {
            assert_eq!(client.ask(line, &[own], "").await.status, 200, "{own}");
        }
        let key = format!("X-API-Key: {KEY}");
        let with_key = ["Origin: http://evil.example", &key];
        assert_eq!(client.ask(line, &with_key, "").await.status, 200);
        assert_eq!(
            client.ask(line, &["X-API-Key: wrong"], "").await.status,
            401
        );
    }

    #[tokio::test]
    async fn beyond_this_machine_the_key_is_needed() {
        let config = with_key(|config| {
            config.listen = ([0, 0, 0, 0], 0).into();
            config.anonymous = Some(true);
        });
        let server = TestServer::start(config).await;
        let addr = ([127, 0, 0, 1], server.addr.port()).into();
        let mut client = Client::new(addr).await;
        let line = "GET /send?room=lobby&message=a";
        assert_eq!(client.ask(line, &[], "").await.status, 401);
        let key = format!("X-API-Key: {KEY}");
        assert_eq!(client.ask(line, &[&key], "").await.status, 404);
    }
}

mod serving {
    use super::*;

    #[tokio::test]
    async fn it_is_ready_until_it_drains() {
        let (mut server, mut client) = server_and_client::<Registry>().await;
        assert_eq!(client.ask("GET /readyz", &[], "").await.body, "ok\n");
        let yaml = client.ask("GET /openapi.yaml", &[], "").await;
        assert_eq!(yaml.header("content-type"), Some("application/yaml"));
        assert!(yaml.body.contains("openapi: 3."));

        // Whoever has begun to ask is still answered.
        let mut late = Client::new(server.addr).await;
        let head = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\n", server.addr);
        late.stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.begin_drain();
        tokio::time::sleep(Duration::from_millis(100)).await;
        late.stream.write_all(b"\r\n").await.unwrap();
        let answer = Response::read(&mut late.stream).await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("2"))
        );
        answer.error_message();
        server.drained().await;
    }

    #[tokio::test]
    async fn a_key_is_made_for_each_start_unless_one_is_set() {
        let mut first = Program::start(&[]).await;
        let line = first.line().await;
        let key = line
            .strip_prefix("the API key of this run is ")
            .and_then(|rest| rest.split_once(' '));
        // Another line may stand before it.
        let key = match key {
            Some((key, _)) => key.to_owned(),
            None => {
                let line = first.line().await;
                let rest = line.strip_prefix("the API key of this run is ").unwrap();
                rest.split_once(' ').unwrap().0.to_owned()
            }
        };
        assert_eq!(key.len(), 32);
        let mut client = Client::new(first.addr).await;
        let header = format!("X-API-Key: {key}");
        let answer = client.ask("POST /api/info", &[&header], "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
