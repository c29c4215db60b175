//! Who gets in and who doesn't: the opening handshake and the HTTP around it, byte by byte.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::{
    Goodbye, Response, ServerFrame, TestServer, client_frame, config, read_head, read_to_end,
    upgrade_request, upgraded,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

const PLAIN: &str = "/ws/lobby";
const CENTRIFUGO: &str = "/connection/websocket";
const BOTH: [&str; 2] = [PLAIN, CENTRIFUGO];

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// A request, to be made a wrong one.
#[derive(Clone)]
struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    /// An opening handshake in which everything is right.
    fn opening(path: &str, addr: SocketAddr) -> Self {
        Self::bare(&format!("GET {path} HTTP/1.1"))
            .with("Host", &addr.to_string())
            .with("Connection", "Upgrade")
            .with("Upgrade", "websocket")
            .with("Sec-WebSocket-Version", "13")
            .with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    fn bare(line: &str) -> Self {
        Self {
            line: line.to_owned(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// With one more header.
    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        let before = self.headers.len();
        self.headers
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        assert_ne!(self.headers.len(), before, "{name} was there");
        self
    }

    /// With another value.
    fn but(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text + "\r\n" + &self.body
    }

    async fn answer(&self, addr: SocketAddr) -> Response {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(self.text().as_bytes()).await.unwrap();
        Response::read(&mut stream).await
    }

    #[track_caller]
    fn assert_refused(&self, response: &Response, status: u16) -> String {
        assert_eq!(response.status, status, "{}", self.text());
        response.error_message()
    }

    async fn is_refused_with(&self, addr: SocketAddr, status: u16) -> Response {
        let response = self.answer(addr).await;
        self.assert_refused(&response, status);
        response
    }

    async fn is_let_in(&self, addr: SocketAddr) -> Response {
        let response = self.answer(addr).await;
        assert_eq!(response.status, 101, "{}", self.text());
        assert_eq!(
            response.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "{response:?}"
        );
        response
    }
}

async fn start() -> TestServer {
    TestServer::start(config(|_| ())).await
}

/// Nobody got in, whatever was tried.
async fn nobody_is_in(server: &TestServer) {
    let status = server.status().await;
    assert_eq!((status.connections, status.num_rooms), (0, 0));
}

#[tokio::test]
async fn an_opening_handshake_is_answered_as_rfc_6455_wants_it() {
    let server = start().await;
    for path in BOTH {
        let good = Request::opening(path, server.addr);
        let response = good.is_let_in(server.addr).await;
        assert_eq!(response.header("upgrade"), Some("websocket"));
        assert_eq!(response.header("connection"), Some("Upgrade"));
        good.clone()
            .but("Connection", "keep-alive, upgrade")
            .but("Upgrade", "WebSocket")
            .is_let_in(server.addr)
            .await;
        let response = good
            .with("Sec-WebSocket-Extensions", "permessage-deflate")
            .is_let_in(server.addr)
            .await;
        let extensions = response.header("sec-websocket-extensions");
        assert_eq!(extensions, None, "nothing that inflates is agreed on");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_connection_header_over_two_lines_is_one_list() {
    let server = start().await;
    for path in BOTH {
        // RFC 9110, 5.3: a list may be spread over lines, and a proxy may do so.
        let request = Request::opening(path, server.addr)
            .but("Connection", "keep-alive")
            .with("Connection", "Upgrade");
        request.is_let_in(server.addr).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_frame_glued_to_the_upgrade_request_is_processed() {
    let server = start().await;
    for (path, sent) in [(PLAIN, "hello"), (CENTRIFUGO, r#"{"id":1,"connect":{}}"#)] {
        let frame = client_frame(TEXT, sent.as_bytes());
        // Whole, and torn anywhere: the rest comes when the first part has been read.
        for glued in [frame.len(), 1, frame.len() - 1] {
            let mut stream = server.raw().await;
            let mut bytes = upgrade_request(path, server.addr).into_bytes();
            bytes.extend(&frame[..glued]);
            stream.write_all(&bytes).await.unwrap();
            let head = read_head(&mut stream).await;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            stream.write_all(&frame[glued..]).await.unwrap();
            let answer = ServerFrame::read(&mut stream).await;
            if path == PLAIN {
                assert_eq!(answer.text(), sent);
            } else {
                let reply: Value = serde_json::from_str(answer.text()).unwrap();
                assert!(reply["connect"]["client"].is_string(), "{reply}");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn an_upgrade_with_a_body_is_refused() {
    let server = start().await;
    for path in BOTH {
        let good = Request::opening(path, server.addr);
        let mut with_length = good.clone().with("Content-Length", "5");
        with_length.body = "hello".to_owned();
        let mut chunked = good.clone().with("Transfer-Encoding", "chunked");
        chunked.body = "5\r\nhello\r\n0\r\n\r\n".to_owned();
        let mut empty_chunks = good.clone().with("Transfer-Encoding", "chunked");
        empty_chunks.body = "0\r\n\r\n".to_owned();
        for wrong in [with_length, chunked, empty_chunks] {
            wrong.is_refused_with(server.addr, 400).await;
        }
        // Without the body, so that nothing but its announcement can be judged.
        let announced = good.with("Content-Length", "5");
        announced.is_refused_with(server.addr, 400).await;
    }
    nobody_is_in(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn an_upgrade_that_says_it_has_no_body_is_let_in() {
    let server = start().await;
    for path in BOTH {
        let request = Request::opening(path, server.addr).with("Content-Length", "0");
        request.is_let_in(server.addr).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn another_websocket_version_is_told_which_one_is_spoken() {
    let server = start().await;
    for path in BOTH {
        let good = Request::opening(path, server.addr);
        for wrong in [
            good.clone().without("Sec-WebSocket-Version"),
            good.clone().but("Sec-WebSocket-Version", "12"),
            good.clone().but("Sec-WebSocket-Version", "8"),
            good.clone().but("Sec-WebSocket-Version", "13, 8"),
            good.clone().but("Sec-WebSocket-Version", ""),
        ] {
            let response = wrong.is_refused_with(server.addr, 426).await;
            assert_eq!(response.header("sec-websocket-version"), Some("13"));
        }
    }
    nobody_is_in(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn an_upgrade_is_a_get_and_nothing_else() {
    let server = start().await;
    for path in BOTH {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
            let mut wrong = Request::opening(path, server.addr);
            wrong.line = format!("{method} {path} HTTP/1.1");
            let response = wrong.is_refused_with(server.addr, 405).await;
            assert_eq!(response.header("allow"), Some("GET"));
        }
        let mut head = Request::opening(path, server.addr);
        head.line = format!("HEAD {path} HTTP/1.1");
        let mut stream = server.raw().await;
        stream.write_all(head.text().as_bytes()).await.unwrap();
        let answer = read_head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
    nobody_is_in(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn an_upgrade_over_http_1_0_is_refused() {
    let server = start().await;
    for path in BOTH {
        let mut wrong = Request::opening(path, server.addr);
        wrong.line = format!("GET {path} HTTP/1.0");
        wrong.is_refused_with(server.addr, 400).await;
    }
    nobody_is_in(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_without_connection_or_upgrade_is_told_what_is_here() {
    let server = start().await;
    for path in BOTH {
        let good = Request::opening(path, server.addr);
        let response = good
            .clone()
            .without("Upgrade")
            .is_refused_with(server.addr, 426)
            .await;
        assert_eq!(response.header("upgrade"), Some("websocket"));
        for wrong in [
            good.clone().without("Connection"),
            good.clone().but("Connection", "keep-alive"),
            good.clone().but("Connection", "Upgraded"),
            good.clone().but("Upgrade", "h2c"),
            good.clone().but("Upgrade", ""),
            good.clone().with("Upgrade", "websocket"),
        ] {
            wrong.is_refused_with(server.addr, 400).await;
        }
    }
    nobody_is_in(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_is_missing_doubled_or_not_16_bytes_is_refused() {
    let server = start().await;
    for path in BOTH {
        let good = Request::opening(path, server.addr);
        let key = "Sec-WebSocket-Key";
        for wrong in [
            good.clone().without(key),
            good.clone().with(key, "dGhlIHNhbXBsZSBub25jZQ=="),
            good.clone().but(key, ""),
            good.clone().but(key, "dGhlIHNhbXBsZQ=="),
            good.clone().but(key, "dGhlIHNhbXBsZSBub25jZSBvZiAxOQ=="),
            good.clone().but(key, "dGhlIHNhbXBsZSBub25jZTE3"),
            good.clone().but(key, "!!!!IHNhbXBsZSBub25jZQ=="),
            good.clone().but(key, "dGhlIHNhbXBsZSBub25jZQ"),
            good.clone().with("Sec-WebSocket-Version", "13"),
        ] {
            wrong.is_refused_with(server.addr, 400).await;
        }
    }
    nobody_is_in(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn only_a_subprotocol_that_is_spoken_is_selected() {
    let server = start().await;
    let protocol = "Sec-WebSocket-Protocol";
    for (path, offered, selected) in [
        (CENTRIFUGO, "centrifuge-json", Some("centrifuge-json")),
        (CENTRIFUGO, "chat, centrifuge-json", Some("centrifuge-json")),
        (CENTRIFUGO, "centrifuge-protobuf", None),
        (CENTRIFUGO, "centrifuge-json2", None),
        (CENTRIFUGO, "chat", None),
        (PLAIN, "centrifuge-json", None),
        (PLAIN, "chat", None),
    ] {
        let request = Request::opening(path, server.addr).with(protocol, offered);
        let response = request.is_let_in(server.addr).await;
        assert_eq!(response.header(protocol), selected, "{path} {offered}");
    }
    // Offered over two lines, which is the same list (RFC 9110, 5.3).
    let request = Request::opening(CENTRIFUGO, server.addr)
        .with(protocol, "chat")
        .with(protocol, "centrifuge-json");
    let response = request.is_let_in(server.addr).await;
    assert_eq!(response.header(protocol), Some("centrifuge-json"));
    let refused = Request::opening(CENTRIFUGO, server.addr)
        .with(protocol, "centrifuge-json")
        .without("Sec-WebSocket-Key");
    let response = refused.is_refused_with(server.addr, 400).await;
    assert_eq!(response.header(protocol), None);
    server.stop().await;
}

#[tokio::test]
async fn a_close_code_that_must_not_be_on_the_wire_is_answered_1002() {
    let server = start().await;
    for path in BOTH {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1100, 2999, 5000, 65535_u16] {
            let mut stream = upgraded(&server, path).await;
            let frame = client_frame(CLOSE, &code.to_be_bytes());
            stream.write_all(&frame).await.unwrap();
            let goodbye = Goodbye::read(&mut stream).await;
            assert_eq!((goodbye.code, goodbye.before), (1002, vec![]), "{code}");
        }
        for code in [1000, 1001, 3000, 4999_u16] {
            let mut stream = upgraded(&server, path).await;
            let frame = client_frame(CLOSE, &code.to_be_bytes());
            stream.write_all(&frame).await.unwrap();
            assert_eq!(Goodbye::read(&mut stream).await.code, code);
        }
        let mut stream = upgraded(&server, path).await;
        stream.write_all(&client_frame(CLOSE, b"")).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert_eq!(answer, [CLOSE, 0], "no code is answered with none");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_host_that_is_missing_doubled_malformed_or_foreign_is_refused_everywhere() {
    let server = start().await;
    let port = server.addr.port();
    for path in [PLAIN, CENTRIFUGO, "/", "/status", "/healthz", "/nothing"] {
        let good = Request::opening(path, server.addr);
        let mut wrong = vec![
            good.clone().without("Host"),
            good.clone().with("Host", &server.addr.to_string()),
        ];
        for host in [
            String::new(),
            format!("ada@127.0.0.1:{port}"),
            format!("127.0.0.1:{port}/status"),
            format!("127.0.0.1:{port}, 127.0.0.1:{port}"),
            format!("evil.example:{port}"),
            format!("127.0.0.1.evil.example:{port}"),
            "127.0.0.1:http".to_owned(),
        ] {
            wrong.push(good.clone().but("Host", &host));
        }
        for wrong in wrong {
            wrong.is_refused_with(server.addr, 400).await;
        }
    }
    nobody_is_in(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn addresses_localhost_and_listed_names_are_hosts_of_this_server() {
    let listed = config(|config| config.allowed_hosts = vec!["chat.example".to_owned()]);
    let server = TestServer::start(listed).await;
    for path in BOTH {
        let good = Request::opening(path, server.addr);
        for host in ["127.0.0.1", "localhost:8080", "[::1]:80", "Chat.Example"] {
            good.clone().but("Host", host).is_let_in(server.addr).await;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_and_an_own_or_listed_one_is_let_in() {
    let listed = config(|config| config.allowed_origins = vec!["https://app.example".to_owned()]);
    let server = TestServer::start(listed).await;
    let addr = server.addr;
    for path in BOTH {
        let good = Request::opening(path, addr);
        for foreign in [
            "http://evil.example",
            "null",
            "",
            &format!("http://{addr}.evil.example"),
            &format!("http://{addr}/"),
            &format!("ws://{addr}"),
            &addr.to_string(),
            "http://app.example",
            "https://app.example.evil",
        ] {
            let request = good.clone().with("Origin", foreign);
            request.is_refused_with(addr, 403).await;
        }
        let own = format!("http://{addr}");
        let doubled = good.clone().with("Origin", &own).with("Origin", &own);
        doubled.is_refused_with(addr, 400).await;
        nobody_is_in(&server).await;
        for known in [&own, "https://app.example", "HTTPS://APP.EXAMPLE"] {
            good.clone().with("Origin", known).is_let_in(addr).await;
        }
        server
            .until("leaving", |status| status.connections == 0)
            .await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_name_that_no_room_can_have_is_refused() {
    let server = start().await;
    let too_long = format!("/ws/{}", "x".repeat(256));
    let too_long_in_bytes = format!("/ws/{}", "%C3%A9".repeat(128));
    for (path, status) in [
        ("/ws/", 404),
        ("/ws", 404),
        ("/ws/a/b", 404),
        (&too_long, 400),
        (&too_long_in_bytes, 400),
        ("/ws/a%0Ab", 400),
        ("/ws/%00", 400),
        ("/ws/%7F", 400),
        ("/ws/%C2%85", 400),
        ("/ws/%FF", 400),
        ("/ws/%C3", 400),
    ] {
        let request = Request::opening(path, server.addr);
        request.is_refused_with(server.addr, status).await;
    }
    nobody_is_in(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_room_name_with_a_slash_or_any_script_is_reached_percent_encoded() {
    let server = start().await;
    let long = "x".repeat(255);
    for (path, name) in [
        ("/ws/a%2Fb", "a/b"),
        ("/ws/caf%C3%A9", "café"),
        ("/ws/%E6%9D%B1%E4%BA%AC", "東京"),
        ("/ws/100%25", "100%"),
        ("/ws/a+b", "a+b"),
        ("/ws/%3Fsince%3Dx", "?since=x"),
        (&format!("/ws/{long}"), &long),
    ] {
        let mut plain = server.plain(path).await;
        let mut other = server.centrifugo("").await;
        let subscribed = other
            .ask(json!({"id": 2, "subscribe": {"channel": name}}))
            .await;
        assert!(subscribed["subscribe"].is_object(), "{subscribed}");
        server
            .until("joining", |status| {
                status.rooms.iter().any(|room| room.clients == 2)
            })
            .await;
        plain.send("hello").await;
        let push = other.next_json().await;
        assert_eq!(push["push"]["channel"], name);
        assert_eq!(push["push"]["pub"]["data"], "hello");
        drop((plain, other));
        server
            .until("leaving", |status| status.connections == 0)
            .await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_room_with_names_behind_its_hash_admits_those_users_only() {
    let server = start().await;
    let let_in = |path| Request::opening(path, server.addr);
    for others in [
        "/ws/x%23ada",
        "/ws/x%23ada?uid=",
        "/ws/x%23ada?uid=bob",
        "/ws/x%23ada?uid=Ada",
        "/ws/x%23?uid=ada",
        "/ws/x%23",
        "/ws/ada%23x%23bob?uid=ada",
    ] {
        let_in(others).is_refused_with(server.addr, 403).await;
    }
    // Whoever could call himself so would be two.
    let two = let_in("/ws/x%23ada,eve?uid=ada,eve");
    two.is_refused_with(server.addr, 400).await;
    nobody_is_in(&server).await;
    for own in [
        "/ws/x%23ada?uid=ada",
        "/ws/x%23ada,eve?uid=eve",
        "/ws/%23ada?uid=%61da",
    ] {
        let_in(own).is_let_in(server.addr).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_since_or_a_uid_that_can_not_be_read_is_refused() {
    let server = start().await;
    let long_uid = format!("uid={}", "x".repeat(256));
    for query in [
        "since=later",
        "since=",
        "since=-1",
        "since=:1",
        "since=epoch:",
        "since=18446744073709551616",
        "uid=a%0Ab",
        &long_uid,
    ] {
        let request = Request::opening(&format!("{PLAIN}?{query}"), server.addr);
        request.is_refused_with(server.addr, 400).await;
    }
    for query in ["uid=a%0Ab", &long_uid] {
        let request = Request::opening(&format!("{CENTRIFUGO}?{query}"), server.addr);
        request.is_refused_with(server.addr, 400).await;
    }
    nobody_is_in(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_answered_in_json() {
    let server = start().await;
    let bare = |method: &str, path: &str| {
        Request::bare(&format!("{method} {path} HTTP/1.1")).with("Host", &server.addr.to_string())
    };
    for path in [
        "/nothing",
        "/ws/lobby/",
        "/connection",
        "/assets/",
        "/assets/nothing.js",
        "/assets/..%2FCargo.toml",
        "/%FF",
    ] {
        let request = bare("GET", path);
        request.is_refused_with(server.addr, 404).await;
    }
    for path in ["/", "/status", "/healthz", "/assets/app.js"] {
        let response = bare("POST", path).is_refused_with(server.addr, 405).await;
        assert_eq!(response.header("allow"), Some("GET, HEAD"));
    }
    server.stop().await;
}

#[tokio::test]
async fn no_body_ever_passes_for_a_further_request() {
    let server = start().await;
    let smuggled = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
    let length = smuggled.len();
    for path in [PLAIN, CENTRIFUGO, "/healthz", "/nothing"] {
        let good = Request::opening(path, server.addr);
        let mut with_length = good.clone().with("Content-Length", &length.to_string());
        with_length.body = smuggled.clone();
        // The length says that the body holds the second request, the encoding that it does not.
        let mut with_both = good
            .clone()
            .with("Content-Length", &(length + 5).to_string())
            .with("Transfer-Encoding", "chunked");
        with_both.body = format!("0\r\n\r\n{smuggled}");
        // The other way round.
        let mut with_both_reversed = good
            .clone()
            .with("Content-Length", "4")
            .with("Transfer-Encoding", "chunked");
        with_both_reversed.body = format!("{length:x}\r\n{smuggled}\r\n0\r\n\r\n");
        let mut with_two_lengths = good
            .clone()
            .with("Content-Length", "0")
            .with("Content-Length", &length.to_string());
        with_two_lengths.body = smuggled.clone();
        for request in [with_length, with_both, with_both_reversed, with_two_lengths] {
            let mut stream = server.raw().await;
            let text = request.text();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let answers = String::from_utf8(read_to_end(&mut stream).await).unwrap();
            assert!(!answers.contains(" 101 "), "{text}: {answers}");
            let count = answers.matches("HTTP/1.1 ").count();
            assert!(count <= 1, "{count} answers to {text}: {answers}");
        }
    }
    nobody_is_in(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn what_comes_behind_an_upgrade_is_never_a_request() {
    let server = start().await;
    for path in BOTH {
        let mut stream = server.raw().await;
        let further = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
        let bytes = upgrade_request(path, server.addr) + &further;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let goodbye = Goodbye::read(&mut stream).await;
        let wanted = if path == PLAIN { 1002 } else { 3501 };
        assert_eq!((goodbye.code, goodbye.before), (wanted, vec![]));
    }
    server.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order_and_the_last_may_be_an_upgrade() {
    let server = start().await;
    let host = server.addr.to_string();
    let get = |path: &str| {
        let request = Request::bare(&format!("GET {path} HTTP/1.1")).with("Host", &host);
        request.text()
    };
    let mut stream = server.raw().await;
    let mut bytes = get("/healthz") + &get("/nothing") + &get("/status");
    bytes += &upgrade_request(PLAIN, server.addr);
    let mut bytes = bytes.into_bytes();
    bytes.extend(client_frame(TEXT, b"hello"));
    stream.write_all(&bytes).await.unwrap();
    let health = Response::read(&mut stream).await;
    assert_eq!((health.status, &*health.body), (200, "ok\n"));
    let missing = Response::read(&mut stream).await;
    assert_eq!(missing.status, 404);
    missing.error_message();
    let status = Response::read(&mut stream).await;
    let body: Value = serde_json::from_str(&status.body).unwrap();
    assert_eq!((status.status, &body["requests"]), (200, &json!(3)));
    assert_eq!(Response::read(&mut stream).await.status, 101);
    assert_eq!(ServerFrame::read(&mut stream).await.text(), "hello");
    server.stop().await;
}

#[tokio::test]
async fn a_refused_upgrade_leaves_the_connection_good_for_a_right_one() {
    let server = start().await;
    for path in BOTH {
        let mut stream = server.raw().await;
        let wrong = Request::opening(path, server.addr).with("Origin", "http://evil.example");
        stream.write_all(wrong.text().as_bytes()).await.unwrap();
        let response = Response::read(&mut stream).await;
        wrong.assert_refused(&response, 403);
        let right = upgrade_request(path, server.addr);
        stream.write_all(right.as_bytes()).await.unwrap();
        assert_eq!(Response::read(&mut stream).await.status, 101);
    }
    server.stop().await;
}
