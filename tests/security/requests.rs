//! Requests that two readers would take for different ones, and offers that are better not taken up.

use std::{net::SocketAddr, time::Duration};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    KEY, head_of_answer, nothing_happened, status_of,
    support::{Goodbye, TestServer, client_frame, read_head, read_to_end, upgrade_request},
    with_key,
};

/// Sends these bytes, and returns everything that comes until the server ends the connection.
async fn exchange(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // It may be gone before it has read everything.
    let _ = stream.write_all(bytes).await;
    String::from_utf8_lossy(&read_to_end(&mut stream).await).into_owned()
}

/// A server that soon loses patience with a request that does not come.
async fn impatient() -> TestServer {
    let mut config = with_key();
    config.timeouts.request_head = Duration::from_millis(300);
    config.timeouts.request_body = Duration::from_millis(300);
    TestServer::start(config).await
}

/// Of each of these heads two readers could make two different requests.
fn ambiguous_heads() -> Vec<(&'static str, String)> {
    let with = |headers: &str| format!("POST /nothing HTTP/1.1\r\nHost: HOST\r\n{headers}\r\n");
    let plain = [
        ("a folded line", "X-A: a\r\n Content-Length: 5\r\n"),
        ("a folded encoding", "Transfer-Encoding:\r\n chunked\r\n"),
        (
            "a space before the colon",
            "Transfer-Encoding : chunked\r\n",
        ),
        ("a tab before the colon", "Content-Length\t: 5\r\n"),
        ("a space before the first name", " Content-Length: 5\r\n"),
        ("a bare carriage return", "X-A: a\rContent-Length: 5\r\n"),
        ("a zero byte", "X-A: a\0\r\nContent-Length: 5\r\n"),
        ("a length with a sign", "Content-Length: +LENGTH\r\n"),
        ("a negative length", "Content-Length: -1\r\n"),
        ("a hexadecimal length", "Content-Length: 0x10\r\n"),
        ("a list of lengths", "Content-Length: 5, 6\r\n"),
        ("a length that is no number", "Content-Length: five\r\n"),
        (
            "a length of 70 bits",
            "Content-Length: 999999999999999999999\r\n",
        ),
        ("two lengths", "Content-Length: 0\r\nContent-Length: 5\r\n"),
        ("an unknown encoding", "Transfer-Encoding: xchunked\r\n"),
        (
            "chunked, and not last",
            "Transfer-Encoding: chunked, identity\r\n",
        ),
        (
            "an encoding and a length",
            "Transfer-Encoding: identity\r\nContent-Length: 0\r\n",
        ),
    ];
    let plain = plain.map(|(what, headers)| (what, with(headers)));
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunks = [
        (
            "a chunk of 2^64 and more",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
        ),
        ("a negative chunk", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a chunk with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        (
            "a chunk that is longer than said",
            "3\r\nhello\r\n0\r\n\r\n",
        ),
        ("a chunk without its end", "5\r\nhello0\r\n\r\n"),
    ];
    let chunks = chunks.map(|(what, body)| (what, with(chunked) + body));
    plain.into_iter().chain(chunks).collect()
}

#[tokio::test]
async fn what_two_readers_would_read_differently_has_no_second_request_in_it() {
    let server = impatient().await;
    let host = server.addr.to_string();
    let smuggled = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    // By itself it is answered, so that an answer would be seen.
    assert!(
        exchange(server.addr, smuggled.as_bytes())
            .await
            .ends_with("\r\n\r\nok\n")
    );
    for (what, head) in ambiguous_heads() {
        let head = head.replace("HOST", &host);
        let head = head.replace("LENGTH", &smuggled.len().to_string());
        let answers = exchange(server.addr, (head + &smuggled).as_bytes()).await;
        assert!(!answers.contains("\r\n\r\nok\n"), "{what}: {answers}");
        let count = answers.matches("HTTP/1.1 ").count();
        assert!(count <= 1, "{what}: {answers}");
        assert!(
            count == 0 || status_of(&answers) >= 400,
            "{what}: {answers}"
        );
    }
    nothing_happened(&server).await;
}

#[tokio::test]
async fn a_body_in_codings_that_are_not_known_is_refused_and_nothing_behind_it_is_read() {
    let server = impatient().await;
    let host = server.addr;
    let body = r#"{"channel":"lobby","data":1}"#;
    let length = body.len();
    for codings in [
        "gzip, chunked",
        "identity, chunked",
        "foo, chunked",
        "chunked, chunked",
        "gzip\r\nTransfer-Encoding: chunked",
    ] {
        let request = format!(
            "POST /api/publish HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {KEY}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: {codings}\r\n\r\n\
             {length:x}\r\n{body}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"
        );
        let answers = exchange(server.addr, request.as_bytes()).await;
        assert!(status_of(&answers) >= 400, "{codings}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{codings}");
    }
    nothing_happened(&server).await;
}

#[tokio::test]
async fn behind_a_request_for_two_hosts_nothing_is_read() {
    let server = impatient().await;
    let host = server.addr;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"
    );
    let answers = exchange(server.addr, request.as_bytes()).await;
    assert_eq!(status_of(&answers), 400, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
}

#[tokio::test]
async fn what_stands_behind_a_body_is_no_header() {
    let server = impatient().await;
    let body = r#"{"channel":"lobby","data":1}"#;
    let post = |header: &str, trailer: &str| {
        let length = body.len();
        format!(
            "POST /api/publish HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{header}\
             Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n{trailer}\r\n",
            server.addr
        )
    };
    let key = format!("X-API-Key: {KEY}\r\n");
    let answer = exchange(server.addr, post("", &key).as_bytes()).await;
    assert_eq!(status_of(&answer), 401, "{answer}");
    let announced = format!("Trailer: x-api-key\r\n{}", "TE: trailers\r\n");
    let answer = exchange(server.addr, post(&announced, &key).as_bytes()).await;
    assert_eq!(status_of(&answer), 401, "{answer}");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let answer = exchange(server.addr, post(&key, upgrade).as_bytes()).await;
    assert_eq!(status_of(&answer), 200, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn nothing_that_inflates_is_ever_agreed_on() {
    let server = TestServer::start(with_key()).await;
    for path in ["/ws/lobby", "/connection/websocket", "/status"] {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits; server_no_context_takeover",
            "x-webkit-deflate-frame",
            "permessage-bzip2, permessage-deflate",
        ] {
            let opening = upgrade_request(path, server.addr);
            let line =
                format!("\r\nSec-WebSocket-Extensions: {offer}\r\nAccept-Encoding: gzip, br\r\n");
            let mut stream = server.raw().await;
            let opening = opening.replacen("\r\n", &line, 1);
            stream.write_all(opening.as_bytes()).await.unwrap();
            let head = read_head(&mut stream).await.to_lowercase();
            assert!(head.starts_with("http/1.1 101 "), "{head}");
            assert!(
                !head.contains("extensions") && !head.contains("encoding"),
                "{head}"
            );
            // A frame that says it is compressed is a fault all the same.
            let compressed = client_frame(0xc1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
            stream.write_all(&compressed).await.unwrap();
            let code = Goodbye::read(&mut stream).await.code;
            assert!([1002, 3501].contains(&code), "{path} {code}");
        }
    }
    for path in [
        "/",
        "/status",
        "/metrics",
        "/openapi.yaml",
        "/assets/app.js",
    ] {
        let host = server.addr;
        let get =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip, br, *\r\n\r\n");
        let answer = head_of_answer(host, &get).await.to_lowercase();
        assert_eq!(status_of(&answer), 200, "{answer}");
        assert!(
            !answer.contains("\r\ncontent-encoding:"),
            "{path}: {answer}"
        );
    }
}
