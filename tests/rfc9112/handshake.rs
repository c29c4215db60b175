//! What belongs to an upgrade: RFC 9110, 7.6.1 and 7.8; RFC 9112, 6; RFC 6455, 4.2.1.

use crate::{
    Answered, Case, Outcome, Refused, Upgraded, all_are_as_they_must_be, headers, start,
    with_fields,
};

/// What may stand there once stands there once. Of lists there may be several lines, which are one.
#[tokio::test]
async fn a_doubled_header_is_no_choice() {
    let server = start().await;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let doubled: [(_, _, Outcome); 9] = [
        ("Connection", "Connection: keep-alive\r\n", Upgraded),
        (
            "Connection, and the same",
            "Connection: Upgrade\r\n",
            Upgraded,
        ),
        ("Upgrade", "Upgrade: websocket\r\n", Answered(400)),
        (
            "Upgrade to something else",
            "Upgrade: h2c\r\n",
            Answered(400),
        ),
        ("the key", key, Answered(400)),
        (
            "the key, in other letters",
            &key.to_lowercase(),
            Answered(400),
        ),
        (
            "the version",
            "Sec-WebSocket-Version: 13\r\n",
            Answered(400),
        ),
        (
            "another version",
            "Sec-WebSocket-Version: 8\r\n",
            Answered(400),
        ),
        (
            "Origin",
            "Origin: http://127.0.0.1\r\nOrigin: null\r\n",
            Answered(400),
        ),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (what, lines, wanted) in doubled {
        let requests = with_fields(lines.as_bytes(), server.addr);
        cases.extend(requests.map(|request| (what, request, wanted)));
    }
    all_are_as_they_must_be(server, cases).await;
}

/// RFC 6455, 4.2.1: each of them has to be there, and to say this.
#[tokio::test]
async fn a_handshake_that_lacks_something_is_answered_and_the_connection_goes_on() {
    let server = start().await;
    let good = headers(server.addr);
    let version = "Sec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut cases: Vec<Case> = Vec::new();
    for (what, from, to, wanted) in [
        ("nothing", "", "", Upgraded),
        ("Connection", "Connection: Upgrade\r\n", "", Answered(400)),
        ("Upgrade", "Upgrade: websocket\r\n", "", Answered(426)),
        ("websocket", "websocket", "WebSocket/13", Answered(400)),
        ("the key", key, "", Answered(400)),
        (
            "a whole key",
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZQ==",
            Answered(400),
        ),
        ("the version", version, "", Answered(426)),
        ("version 13", "Version: 13", "Version: 8", Answered(426)),
        (
            "one version",
            "Version: 13",
            "Version: 13, 8",
            Answered(426),
        ),
    ] {
        let headers = good.replacen(from, to, 1);
        let request = format!("GET /ws/lobby HTTP/1.1\r\n{headers}\r\n");
        cases.push((what, request.into_bytes(), wanted));
    }
    all_are_as_they_must_be(server, cases).await;
}

/// 6: what comes behind the head of a handshake is frames. A request that says it has a body is
/// refused, and what comes behind it is not looked at.
#[tokio::test]
async fn a_handshake_with_a_body_is_refused_and_closed() {
    let server = start().await;
    let mut cases: Vec<Case> = Vec::new();
    for (what, lines, body, wanted) in [
        ("a length of nothing", "Content-Length: 0\r\n", "", Upgraded),
        ("a body", "Content-Length: 5\r\n", "hello", Refused(400)),
        (
            "a body that does not come",
            "Content-Length: 500000\r\n",
            "",
            Refused(400),
        ),
        (
            "chunks",
            "Transfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            Refused(400),
        ),
        (
            "an unknown coding",
            "Transfer-Encoding: x\r\n",
            "",
            Refused(400),
        ),
        (
            "a length that is none",
            "Content-Length: five\r\n",
            "",
            Refused(400),
        ),
        (
            "two lengths",
            "Content-Length: 0\r\nContent-Length: 5\r\n",
            "",
            Refused(400),
        ),
    ] {
        let requests = with_fields(lines.as_bytes(), server.addr);
        let bodies = requests.map(|head| [&head[..], body.as_bytes()].concat());
        cases.extend(bodies.map(|request| (what, request, wanted)));
    }
    all_are_as_they_must_be(server, cases).await;
}
