//! Methods, targets and versions: RFC 9112, 2.2, 2.3 and 3.

use crate::{
    Answered, Case, Closed, Outcome, Refused, Upgraded, all_are_as_they_must_be, start, with_line,
};
use std::net::SocketAddr;

fn cases(host: SocketAddr, lines: &[(&'static str, &[u8], Outcome)]) -> Vec<Case> {
    let case = |(what, line, wanted): &(_, &[u8], _)| (*what, with_line(line, host), *wanted);
    lines.iter().map(case).collect()
}

/// 3: method, one space, target, one space, version, and a line break. 2.2: a recipient may be lenient
/// with line breaks and with empty lines before a request, and this one is; it may be with other white
/// space, and this one is not.
#[tokio::test]
async fn a_request_line_has_three_parts_and_one_space_between_them() {
    let server = start().await;
    let lines: [(_, &[u8], _); 17] = [
        ("as it should be", b"GET /ws/lobby HTTP/1.1", Upgraded),
        (
            "empty lines before it",
            b"\r\n\r\nGET /ws/lobby HTTP/1.1",
            Upgraded,
        ),
        (
            "bare line feeds before it",
            b"\n\nGET /ws/lobby HTTP/1.1",
            Upgraded,
        ),
        (
            "a bare line feed behind it",
            b"GET /ws/lobby HTTP/1.1\nX-A: a",
            Upgraded,
        ),
        (
            "a space before it",
            b" GET /ws/lobby HTTP/1.1",
            Refused(400),
        ),
        ("a tab before it", b"\tGET /ws/lobby HTTP/1.1", Refused(400)),
        (
            "two spaces before the target",
            b"GET  /ws/lobby HTTP/1.1",
            Refused(400),
        ),
        (
            "a tab before the target",
            b"GET\t/ws/lobby HTTP/1.1",
            Refused(400),
        ),
        (
            "two spaces behind the target",
            b"GET /ws/lobby  HTTP/1.1",
            Refused(400),
        ),
        (
            "a tab behind the target",
            b"GET /ws/lobby\tHTTP/1.1",
            Refused(400),
        ),
        (
            "a space behind it",
            b"GET /ws/lobby HTTP/1.1 ",
            Refused(400),
        ),
        (
            "a fourth part",
            b"GET /ws/lobby HTTP/1.1 HTTP/1.1",
            Refused(400),
        ),
        ("no spaces", b"GET/ws/lobbyHTTP/1.1", Refused(400)),
        ("no target", b"GET HTTP/1.1", Refused(400)),
        ("an empty target", b"GET  HTTP/1.1", Refused(400)),
        (
            "a carriage return in it",
            b"GET /ws/lob\rby HTTP/1.1",
            Refused(400),
        ),
        (
            "a zero byte in it",
            b"GET /ws/lob\0by HTTP/1.1",
            Refused(400),
        ),
    ];
    let cases = cases(server.addr, &lines);
    all_are_as_they_must_be(server, cases).await;
}

/// 3.1: a method is a token, of any letters, and those count. RFC 9110, 9.1: one that is not known
/// where it is said is 405 or 501.
#[tokio::test]
async fn a_method_is_a_token_and_letters_count() {
    let server = start().await;
    let lines: [(_, &[u8], _); 12] = [
        ("in small letters", b"get /ws/lobby HTTP/1.1", Answered(405)),
        ("unheard of", b"BREW /ws/lobby HTTP/1.1", Answered(405)),
        (
            "with every mark that it may have",
            b"!#$%&'*+-.^_`|~9 /ws/lobby HTTP/1.1",
            Answered(405),
        ),
        ("TRACE", b"TRACE /ws/lobby HTTP/1.1", Answered(405)),
        ("none", b" /ws/lobby HTTP/1.1", Refused(400)),
        ("with a colon", b"GET: /ws/lobby HTTP/1.1", Refused(400)),
        (
            "with a quotation mark",
            b"\"GET\" /ws/lobby HTTP/1.1",
            Refused(400),
        ),
        ("with a bracket", b"GET( /ws/lobby HTTP/1.1", Refused(400)),
        (
            "with a control character",
            b"GE\x01T /ws/lobby HTTP/1.1",
            Refused(400),
        ),
        (
            "with a zero byte",
            b"GET\0 /ws/lobby HTTP/1.1",
            Refused(400),
        ),
        ("with a delete", b"GET\x7f /ws/lobby HTTP/1.1", Refused(400)),
        (
            "beyond ASCII",
            b"G\xc3\x89T /ws/lobby HTTP/1.1",
            Refused(400),
        ),
    ];
    let mut cases = cases(server.addr, &lines);
    let long = [&[b'G'; 9000][..], b" /ws/lobby HTTP/1.1"].concat();
    cases.push(("long", with_line(&long, server.addr), Answered(405)));
    let longer = [&[b'G'; 100_000][..], b" /ws/lobby HTTP/1.1"].concat();
    cases.push((
        "longer than a head may be",
        with_line(&longer, server.addr),
        Refused(431),
    ));
    all_are_as_they_must_be(server, cases).await;
}

/// 3.2: a target has one of four forms. CONNECT, which alone has the third, is for proxies, and `*` is
/// for OPTIONS; a server takes the absolute form, and believes it rather than `Host` (3.2.2): here they
/// must agree. A fragment belongs to none of them, and is cut off: what is left is the path that
/// everybody sees.
#[tokio::test]
async fn a_target_has_one_of_four_forms() {
    let server = start().await;
    let addr = server.addr;
    let lines: [(_, &[u8], _); 15] = [
        (
            "CONNECT to another",
            b"CONNECT evil.example:443 HTTP/1.1",
            Refused(400),
        ),
        (
            "CONNECT with a path",
            b"CONNECT /ws/lobby HTTP/1.1",
            Answered(405),
        ),
        (
            "OPTIONS of the server",
            b"OPTIONS * HTTP/1.1",
            Answered(404),
        ),
        ("GET of the server", b"GET * HTTP/1.1", Answered(404)),
        (
            "OPTIONS of a path",
            b"OPTIONS /ws/lobby HTTP/1.1",
            Answered(405),
        ),
        ("no slash", b"GET ws/lobby HTTP/1.1", Refused(400)),
        ("only a query", b"GET ?since=now HTTP/1.1", Refused(400)),
        (
            "another authority",
            b"GET http://evil.example/ws/lobby HTTP/1.1",
            Refused(400),
        ),
        (
            "an empty authority",
            b"GET http:///ws/lobby HTTP/1.1",
            Refused(400),
        ),
        (
            "a user in the authority",
            b"GET http://ada@127.0.0.1/ws/lobby HTTP/1.1",
            Refused(400),
        ),
        ("a fragment", b"GET /ws/lobby#here HTTP/1.1", Upgraded),
        ("beyond ASCII", b"GET /ws/caf\xc3\xa9 HTTP/1.1", Upgraded),
        ("no UTF-8", b"GET /ws/caf\xe9 HTTP/1.1", Refused(400)),
        (
            "a percent sign and no digits",
            b"GET /ws/%zz HTTP/1.1",
            Upgraded,
        ),
        ("dots", b"GET /ws/../ws/lobby HTTP/1.1", Answered(404)),
    ];
    let mut cases = cases(addr, &lines);
    let absolute = |scheme: &str| format!("GET {scheme}://{addr}/ws/lobby HTTP/1.1");
    for (what, scheme, wanted) in [
        ("absolute", "http", Upgraded),
        ("absolute, and in other letters", "HTTP", Upgraded),
        ("absolute, and of a proxy", "https", Upgraded),
        ("absolute, and of WebSocket", "ws", Upgraded),
    ] {
        cases.push((what, with_line(absolute(scheme).as_bytes(), addr), wanted));
    }
    let long = |count| format!("GET /ws/{} HTTP/1.1", "x".repeat(count));
    for (what, count, wanted) in [
        ("a long room", 9_000, Answered(400)),
        ("longer than a head may be", 100_000, Refused(431)),
    ] {
        cases.push((what, with_line(long(count).as_bytes(), addr), wanted));
    }
    all_are_as_they_must_be(server, cases).await;
}

/// 2.3: a version is `HTTP/`, a digit, a point and a digit. Of the minor ones of 1, all higher are as
/// good as 1.1, and a handshake needs that (RFC 6455, 4.1); other major ones are not spoken.
#[tokio::test]
async fn nothing_but_http_1_1_is_spoken_in_a_handshake() {
    let server = start().await;
    let lines: [(_, &[u8], _); 12] = [
        ("HTTP/1.0", b"GET /ws/lobby HTTP/1.0", Refused(400)),
        ("HTTP/1.2", b"GET /ws/lobby HTTP/1.2", Refused(400)),
        ("HTTP/2.0", b"GET /ws/lobby HTTP/2.0", Refused(400)),
        ("HTTP/0.9", b"GET /ws/lobby HTTP/0.9", Refused(400)),
        ("none, as in HTTP/0.9", b"GET /ws/lobby", Refused(400)),
        ("HTTP/2", b"GET /ws/lobby HTTP/2", Refused(400)),
        ("two digits", b"GET /ws/lobby HTTP/1.10", Refused(400)),
        ("a leading zero", b"GET /ws/lobby HTTP/01.1", Refused(400)),
        ("a comma", b"GET /ws/lobby HTTP/1,1", Refused(400)),
        ("small letters", b"GET /ws/lobby http/1.1", Refused(400)),
        ("another protocol", b"GET /ws/lobby RTSP/1.1", Refused(400)),
        ("no digits", b"GET /ws/lobby HTTP/x.y", Refused(400)),
    ];
    let mut cases = cases(server.addr, &lines);
    // RFC 9113, 3.4: what a client of HTTP/2 says first.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    cases.push(("the preface of HTTP/2", preface, Closed));
    // TLS: a record of a handshake.
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03".to_vec();
    cases.push(("TLS", hello, Refused(400)));
    let nothing = b"GET /ws/lobby HTTP/1.1\r\nHost: 127.0.0.1".to_vec();
    cases.push(("a head that ends in the next", nothing, Refused(400)));
    let silence = b"\r\n".repeat(10_000);
    cases.push(("empty lines and nothing else", silence, Refused(431)));
    all_are_as_they_must_be(server, cases).await;
}
