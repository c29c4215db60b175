//! JSON that no sane client writes: as deep as a message may be long, with a key twice, with numbers
//! that no machine has. It is passed on as it is, or refused, and nobody else notices.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use serde_json::Value;
use slabcast::config::Secret;
use support::{Peer, Response, TestServer, config};
use tokio::io::AsyncWriteExt as _;

const KEY: &str = "0123456789abcdef";

/// As many brackets as fit into a message, `[[[…]]]`.
fn deep() -> String {
    "[".repeat(30_000) + &"]".repeat(30_000)
}

/// Numbers that are none to a machine, and JSON; with what the API says where it wants a small one. What
/// is beyond any floating-point number it can't read.
const HUGE: [(&str, u32); 4] = [
    ("1e400", 400),
    ("-1e999999999999", 400),
    ("99999999999999999999999999999999", 107),
    ("0.1e-99999", 107),
];

async fn start() -> TestServer {
    TestServer::start(config(|config| {
        config.api.key = Some(Secret::new(KEY));
    }))
    .await
}

/// What becomes of one command of a connection that is in the lobby: the code of an error, 0 for none,
/// or the code of the close frame.
async fn said(server: &TestServer, command: &str) -> u32 {
    let mut peer = server.centrifugo("").await;
    let subscribed = peer
        .ask(serde_json::json!({"id": 2, "subscribe": {"channel": "lobby"}}))
        .await;
    assert!(subscribed["subscribe"].is_object(), "{subscribed}");
    peer.send(command).await;
    loop {
        match peer.next().await {
            tokio_tungstenite::tungstenite::Message::Close(frame) => {
                return u16::from(frame.unwrap().code).into();
            }
            message => {
                // What it has published comes as it was.
                let text = message.into_text().unwrap();
                if !text.contains(r#""push""#) {
                    let Ok(reply) = serde_json::from_str::<Value>(&text) else {
                        panic!("{text}")
                    };
                    return reply["error"]["code"].as_u64().unwrap_or(0) as u32;
                }
            }
        }
    }
}

/// The same of a request to the API: the code of an error, or the status where it is not 200.
async fn posted(server: &TestServer, method: &str, body: &str) -> u32 {
    let mut stream = server.raw().await;
    let request = format!(
        "POST /api/{method} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {KEY}\r\nContent-Length: {}\r\n\r\n{body}",
        server.addr,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let response = Response::read(&mut stream).await;
    if response.status != 200 {
        return response.status.into();
    }
    let reply: Value = serde_json::from_str(&response.body).unwrap();
    reply["error"]["code"].as_u64().unwrap_or(0) as u32
}

/// Tries them all, and sees that somebody else in the lobby hears what he says.
async fn all_are_as_they_must_be(commands: &[(String, u32)], requests: &[(&str, String, u32)]) {
    let server = start().await;
    let mut wrong = Vec::new();
    for (command, wanted) in commands {
        let found = said(&server, command).await;
        if found != *wanted {
            wrong.push(format!("{found} instead of {wanted}: {command:.100}"));
        }
    }
    for (method, body, wanted) in requests {
        let found = posted(&server, method, body).await;
        if found != *wanted {
            wrong.push(format!("{found} instead of {wanted}: {method} {body:.100}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut other = Peer::connect(server.addr, "/ws/lobby").await;
    other.send("still here").await;
    assert_eq!(other.next_text().await, "still here");
    assert_eq!(server.status().await.closed["internal"], 0);
    server.stop().await;
}

#[tokio::test]
async fn json_of_any_depth_is_passed_over_or_refused_and_takes_no_stack() {
    let deep = deep();
    let commands = [
        (
            format!(r#"{{"id":3,"publish":{{"channel":"lobby","data":{deep}}}}}"#),
            0,
        ),
        (
            format!(r#"{{"id":3,"publish":{{"channel":"lobby","data":1,"more":{deep}}}}}"#),
            0,
        ),
        (format!(r#"{{"id":3,"publish":{deep}}}"#), 107),
        (
            format!(r#"{{"id":{deep},"publish":{{"channel":"lobby","data":1}}}}"#),
            3501,
        ),
        (
            format!(r#"{{"id":3,"publish":{{"channel":{deep},"data":1}}}}"#),
            107,
        ),
        (deep.clone(), 3501),
        (deep[..30_000].to_owned(), 3501),
        (r#"{"a":"#.repeat(10_000), 3501),
    ];
    let requests = [
        (
            "publish",
            format!(r#"{{"channel":"lobby","data":{deep}}}"#),
            0,
        ),
        (
            "publish",
            format!(r#"{{"channel":"lobby","data":1,"more":{deep}}}"#),
            107,
        ),
        ("publish", format!(r#"{{"channel":{deep},"data":1}}"#), 107),
        ("publish", deep.clone(), 107),
        ("publish", deep[..30_000].to_owned(), 107),
        (
            "batch",
            format!(r#"{{"commands":[{{"publish":{{"channel":"lobby","data":{deep}}}}}]}}"#),
            0,
        ),
        ("batch", format!(r#"{{"commands":{deep}}}"#), 107),
    ];
    all_are_as_they_must_be(&commands, &requests).await;
}

#[tokio::test]
async fn a_key_that_is_there_twice_is_no_choice() {
    let commands = [
        (
            r#"{"id":3,"id":4,"publish":{"channel":"lobby","data":1}}"#,
            3501,
        ),
        (
            r#"{"id":3,"publish":{"channel":"lobby","data":1},"publish":{"channel":"lobby","data":2}}"#,
            3501,
        ),
        (
            r#"{"id":3,"ping":{},"publish":{"channel":"lobby","data":2}}"#,
            3501,
        ),
        (
            r#"{"id":3,"publish":{"channel":"lobby","channel":"other","data":1}}"#,
            107,
        ),
        (
            r#"{"id":3,"publish":{"channel":"lobby","data":1,"data":2}}"#,
            107,
        ),
        // What is published is nobody's to judge.
        (
            r#"{"id":3,"publish":{"channel":"lobby","data":{"a":1,"a":2}}}"#,
            0,
        ),
    ];
    let commands = commands.map(|(command, code)| (command.to_owned(), code));
    let requests = [
        (
            "publish",
            r#"{"channel":"lobby","channel":"other","data":1}"#,
            107,
        ),
        ("publish", r#"{"channel":"lobby","data":1,"data":2}"#, 107),
        ("publish", r#"{"channel":"lobby","data":{"a":1,"a":2}}"#, 0),
        ("batch", r#"{"commands":[],"commands":[{"info":{}}]}"#, 107),
        ("batch", r#"{"commands":[{"info":{},"info":{}}]}"#, 107),
    ];
    let requests = requests.map(|(method, body, code)| (method, body.to_owned(), code));
    all_are_as_they_must_be(&commands, &requests).await;
}

#[tokio::test]
async fn a_number_that_no_machine_has_is_passed_on_or_refused() {
    let (mut commands, mut requests) = (Vec::new(), Vec::new());
    for (number, refusal) in HUGE {
        for (command, code) in [
            (
                format!(r#"{{"id":3,"publish":{{"channel":"lobby","data":{number}}}}}"#),
                0,
            ),
            (
                format!(r#"{{"id":{number},"publish":{{"channel":"lobby","data":1}}}}"#),
                3501,
            ),
            (
                format!(r#"{{"id":3,"history":{{"channel":"lobby","limit":{number}}}}}"#),
                107,
            ),
            (
                format!(
                    r#"{{"id":3,"subscribe":{{"channel":"other","recover":true,"offset":{number}}}}}"#
                ),
                107,
            ),
        ] {
            commands.push((command, code));
        }
        requests.push((
            "publish",
            format!(r#"{{"channel":"lobby","data":{number}}}"#),
            0,
        ));
        requests.push((
            "history",
            format!(r#"{{"channel":"lobby","limit":{number}}}"#),
            refusal,
        ));
    }
    // The first that is too large for an id.
    let large = r#"{"id":4294967296,"publish":{"channel":"lobby","data":1}}"#;
    commands.push((large.to_owned(), 3501));
    all_are_as_they_must_be(&commands, &requests).await;
}
