//! `Host`: RFC 9112, 3.2.

use crate::{Answered, Case, Outcome, Refused, Upgraded, all_are_as_they_must_be, headers, start};

/// 3.2: a request of HTTP/1.1 has one `Host`, which is a host and a port, and all others are 400. Which
/// names are this server's is ours to say.
#[tokio::test]
async fn a_request_has_one_host_and_it_is_this_servers() {
    let server = start().await;
    let addr = server.addr;
    let own = format!("Host: {addr}\r\n");
    let port = addr.port();
    let hosts: Vec<(&str, String, Outcome)> = vec![
        ("its own", own.clone(), Upgraded),
        ("localhost", format!("Host: localhost:{port}\r\n"), Upgraded),
        (
            "its name in other letters",
            format!("hOsT: LocalHost:{port}\r\n"),
            Upgraded,
        ),
        ("none", String::new(), Refused(400)),
        ("two", own.repeat(2), Refused(400)),
        (
            "two that differ",
            format!("{own}Host: evil.example\r\n"),
            Refused(400),
        ),
        ("an empty one", "Host:\r\n".to_owned(), Refused(400)),
        (
            "an empty one beside it",
            format!("Host:\r\n{own}"),
            Refused(400),
        ),
        ("a list", format!("Host: {addr}, {addr}\r\n"), Refused(400)),
        (
            "a foreign one",
            "Host: evil.example\r\n".to_owned(),
            Refused(400),
        ),
        (
            "one below",
            format!("Host: localhost.evil.example:{port}\r\n"),
            Refused(400),
        ),
        ("a user", format!("Host: ada@{addr}\r\n"), Refused(400)),
        ("a path", format!("Host: {addr}/ws/lobby\r\n"), Refused(400)),
        ("a scheme", format!("Host: http://{addr}\r\n"), Refused(400)),
        (
            "a port that is none",
            "Host: 127.0.0.1:http\r\n".to_owned(),
            Refused(400),
        ),
        (
            "a port of 17 bits",
            "Host: 127.0.0.1:65536\r\n".to_owned(),
            Refused(400),
        ),
        (
            "a space in it",
            "Host: 127.0.0.1 evil.example\r\n".to_owned(),
            Refused(400),
        ),
        (
            "an address without its bracket",
            "Host: [::1\r\n".to_owned(),
            Refused(400),
        ),
        (
            "an underscore for another name",
            format!("Ho_st: {addr}\r\n"),
            Refused(400),
        ),
    ];
    let handshake = headers(addr);
    let (_, rest) = handshake.split_once("\r\n").unwrap();
    let mut cases: Vec<Case> = Vec::new();
    for (what, host, wanted) in hosts {
        let request = |path: &str, rest: &str| {
            format!("GET {path} HTTP/1.1\r\n{host}{rest}\r\n").into_bytes()
        };
        cases.push((what, request("/ws/lobby", rest), wanted));
        // Also where nothing is upgraded.
        let answered = if wanted == Upgraded {
            Answered(200)
        } else {
            wanted
        };
        cases.push((what, request("/healthz", ""), answered));
    }
    all_are_as_they_must_be(server, cases).await;
}
