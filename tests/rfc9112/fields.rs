//! Header lines: RFC 9112, 2.2 and 5.

use crate::{Case, Outcome, Refused, Upgraded, all_are_as_they_must_be, start, with_fields};
use std::net::SocketAddr;

fn cases(host: SocketAddr, lines: &[(&'static str, &[u8], Outcome)]) -> Vec<Case> {
    let case = |(what, lines, wanted): &(&'static str, &[u8], Outcome)| {
        with_fields(lines, host).map(|request| (*what, request, *wanted))
    };
    lines.iter().flat_map(case).collect()
}

/// 5 and 5.1: a name is a token with a colon right behind it.
#[tokio::test]
async fn a_header_has_a_name_with_a_colon_right_behind_it() {
    let server = start().await;
    let lines: [(_, &[u8], _); 15] = [
        ("no space behind the colon", b"X-A:a\r\n", Upgraded),
        (
            "white space around the value",
            b"X-A: \t a \t \r\n",
            Upgraded,
        ),
        ("no value", b"X-A:\r\n", Upgraded),
        (
            "every mark that it may have",
            b"!#$%&'*+-.^_`|~9: a\r\n",
            Upgraded,
        ),
        ("a space before the colon", b"X-A : a\r\n", Refused(400)),
        ("a tab before the colon", b"X-A\t: a\r\n", Refused(400)),
        ("a space in the name", b"X A: a\r\n", Refused(400)),
        ("a space before the name", b" X-A: a\r\n", Refused(400)),
        ("no name", b": a\r\n", Refused(400)),
        ("no colon", b"X-A\r\n", Refused(400)),
        ("a name beyond ASCII", b"X-\xc3\x84: a\r\n", Refused(400)),
        (
            "a control character in the name",
            b"X-\x01A: a\r\n",
            Refused(400),
        ),
        ("a zero byte in the name", b"X-\0A: a\r\n", Refused(400)),
        ("a bracket in the name", b"X(A): a\r\n", Refused(400)),
        (
            "a quotation mark in the name",
            b"\"X-A\": a\r\n",
            Refused(400),
        ),
    ];
    let cases = cases(server.addr, &lines);
    all_are_as_they_must_be(server, cases).await;
}

/// 5.5 of RFC 9110, and 2.2 and 5.2: a value has no control characters but tabs, and ends with its line.
/// A bare line feed is a line break, as it may be; a bare carriage return never is.
#[tokio::test]
async fn a_value_ends_with_its_line_and_has_no_control_characters() {
    let server = start().await;
    let lines: [(_, &[u8], _); 12] = [
        ("a tab", b"X-A: a\tb\r\n", Upgraded),
        ("beyond ASCII", b"X-A: caf\xc3\xa9\r\n", Upgraded),
        ("no UTF-8", b"X-A: caf\xe9\r\n", Upgraded),
        ("a bare line feed behind it", b"X-A: a\n", Upgraded),
        (
            "a bare carriage return",
            b"X-A: a\rX-B: b\r\n",
            Refused(400),
        ),
        (
            "a carriage return before the break",
            b"X-A: a\r\r\n",
            Refused(400),
        ),
        ("a zero byte", b"X-A: a\0b\r\n", Refused(400)),
        ("an escape", b"X-A: a\x1b[31m\r\n", Refused(400)),
        ("a delete", b"X-A: a\x7fb\r\n", Refused(400)),
        (
            "a line that is folded with a space",
            b"X-A: a\r\n b\r\n",
            Refused(400),
        ),
        (
            "a line that is folded with a tab",
            b"X-A: a\r\n\tb\r\n",
            Refused(400),
        ),
        (
            "a line that is folded to nothing",
            b"X-A: a\r\n \r\n",
            Refused(400),
        ),
    ];
    let cases = cases(server.addr, &lines);
    all_are_as_they_must_be(server, cases).await;
}

/// 6: what says where a body ends is `Content-Length` and `Transfer-Encoding`, by these names. What a
/// careless reader might take for one of them is a header like any other: what is behind the head is
/// behind the request.
#[tokio::test]
async fn what_looks_like_a_length_and_has_another_name_is_none() {
    let server = start().await;
    let lines: [(_, &[u8], _); 6] = [
        (
            "an encoding with an underscore",
            b"Transfer_Encoding: chunked\r\n",
            Upgraded,
        ),
        (
            "a length with an underscore",
            b"Content_Length: 5\r\n",
            Upgraded,
        ),
        (
            "an encoding with a point",
            b"Transfer.Encoding: chunked\r\n",
            Upgraded,
        ),
        (
            "an encoding without a hyphen",
            b"TransferEncoding: chunked\r\n",
            Upgraded,
        ),
        (
            "a length of something",
            b"X-Content-Length: 5\r\n",
            Upgraded,
        ),
        (
            "an encoding with an apostrophe",
            b"Transfer-Encoding': chunked\r\n",
            Upgraded,
        ),
    ];
    let mut cases = cases(server.addr, &lines);
    // The same without a handshake: if it were a length, the next request would be a body.
    let host = server.addr;
    for (what, line) in [
        (
            "an encoding with an underscore, and no handshake",
            "Transfer_Encoding: chunked",
        ),
        (
            "a length with an underscore, and no handshake",
            "Content_Length: 5",
        ),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{line}\r\n\r\n");
        cases.push((what, request.into_bytes(), crate::Answered(200)));
    }
    all_are_as_they_must_be(server, cases).await;
}

/// How much of it there may be, which is ours to say (5.4 of RFC 9110).
#[tokio::test]
async fn a_head_that_is_too_much_is_431() {
    let server = start().await;
    let long = [&b"X-A: "[..], &[b'x'; 9_000], b"\r\n"].concat();
    let longer = [&b"X-A: "[..], &[b'x'; 100_000], b"\r\n"].concat();
    let lines: [(_, &[u8], _); 4] = [
        ("a long line", &long, Upgraded),
        ("a line that is too long", &longer, Refused(431)),
        (
            "as many lines as may be",
            &b"X-A: a\r\n".repeat(95),
            Upgraded,
        ),
        ("one line more", &b"X-A: a\r\n".repeat(96), Refused(431)),
    ];
    let cases = cases(server.addr, &lines);
    all_are_as_they_must_be(server, cases).await;
}
