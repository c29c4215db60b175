//! What RFC 9112 says of a request's head, section by section, to the byte. Each request here is also
//! an opening handshake (RFC 6455, 4.2.1) in which everything else is right: what is wrong with a head
//! must never be passed over on the way to a 101.
//!
//! Bodies, and requests that are hidden in them, are in `tests/security/requests.rs`; what else a
//! handshake may lack is in `upgrade.rs`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod fields;
mod handshake;
mod host;
mod request_line;
#[path = "../support/mod.rs"]
mod support;

use std::{net::SocketAddr, time::Duration};

use support::{TestServer, config, read_to_end};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is an opening handshake.
    Upgraded,
    /// It is understood, answered so, and the next one on the connection is answered as well.
    Answered(u16),
    /// It is answered so, and nothing behind it is taken for a request.
    Refused(u16),
    /// Nothing is said to it, and nothing behind it is taken for a request.
    Closed,
}
use Outcome::{Answered, Closed, Refused, Upgraded};

/// What is tried, the request, and what must become of it.
type Case = (&'static str, Vec<u8>, Outcome);

/// The head of an opening handshake behind its first line, without the empty line at its end.
fn headers(host: SocketAddr) -> String {
    format!(
        "Host: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
}

/// An opening handshake that begins with `line`.
fn with_line(line: &[u8], host: SocketAddr) -> Vec<u8> {
    [line, b"\r\n", headers(host).as_bytes(), b"\r\n"].concat()
}

/// An opening handshake with `lines` in it, as they are, behind its first line or at its end: what
/// stands first, and what stands last, is nothing special.
fn with_fields(lines: &[u8], host: SocketAddr) -> [Vec<u8>; 2] {
    let (line, headers) = (b"GET /ws/lobby HTTP/1.1\r\n", headers(host));
    [
        [line, lines, headers.as_bytes(), b"\r\n"].concat(),
        [line, headers.as_bytes(), lines, b"\r\n"].concat(),
    ]
}

/// A server that soon loses patience with a head that does not end.
async fn start() -> TestServer {
    TestServer::start(config(|config| {
        config.timeouts.request_head = Duration::from_millis(500);
    }))
    .await
}

/// Everything that comes until the server ends the connection.
async fn answers_to(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // It may be gone before it has read everything.
    let _ = stream.write_all(bytes).await;
    String::from_utf8_lossy(&read_to_end(&mut stream).await).into_owned()
}

/// What became of `request`, with another one right behind it.
async fn outcome(addr: SocketAddr, request: &[u8]) -> (Outcome, String) {
    let next = format!("GET /healthz HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    let answers = answers_to(addr, &[request, next.as_bytes()].concat()).await;
    // Whoever asks by HTTP/1.0 is answered so.
    let answers = answers.replace("HTTP/1.0 ", "HTTP/1.1 ");
    let heads = answers.match_indices("HTTP/1.1 ");
    let statuses = heads.map(|(at, _)| answers[at + 9..at + 12].parse().unwrap());
    let statuses: Vec<u16> = statuses.collect();
    let outcome = match statuses[..] {
        [] => Closed,
        [101] => Upgraded,
        [status] => Refused(status),
        [status, 200] if answers.ends_with("\r\n\r\nok\n") => Answered(status),
        _ => panic!("{answers}"),
    };
    (outcome, answers)
}

/// Tries every case on a connection of its own, and sees that others are served as if nothing were.
async fn all_are_as_they_must_be(server: TestServer, cases: Vec<Case>) {
    let good = with_line(b"GET /ws/lobby HTTP/1.1", server.addr);
    let mut wrong = Vec::new();
    for (what, request, wanted) in cases {
        let (found, answers) = outcome(server.addr, &request).await;
        if found != wanted {
            let request = String::from_utf8_lossy(&request).into_owned();
            wrong.push(format!(
                "{what}: {found:?} instead of {wanted:?}\n{request}\n{answers}"
            ));
        }
        assert_eq!(
            outcome(server.addr, &good).await.0,
            Upgraded,
            "after {what}"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server
        .until("their leaving", |status| status.connections == 0)
        .await;
    server.stop().await;
}
