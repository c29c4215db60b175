//! Every path under a foreign name, and from a page of a foreign site.

use crate::{KEY, head_of_answer, nothing_happened, status_of, support::TestServer, with_key};

const EVIL: &str = "http://evil.example";

/// The paths that answer with a socket or a stream instead of a body.
const SOCKETS: [&str; 4] = [
    "/ws/lobby",
    "/connection/websocket",
    "/status",
    "/sse/lobby",
];

/// Every path with each of its methods, as the description of the API has them; a test in `http`
/// holds that against the routes.
fn every_path() -> Vec<(String, String)> {
    let text = include_str!("../../docs/openapi.yaml");
    let (_, paths) = text.split_once("\npaths:\n").unwrap();
    let (mut found, mut path) = (Vec::new(), String::new());
    for line in paths.lines().take_while(|line| line.starts_with("  ")) {
        let indent = line.len() - line.trim_start().len();
        match (indent, line.trim().strip_suffix(':')) {
            (2, Some(name)) => {
                path = name.replace("{room}", "lobby").replace("{file}", "app.js");
            }
            (4, Some(method)) => found.push((method.to_uppercase(), path.clone())),
            _ => {}
        }
    }
    assert!(found.len() > 30, "{found:?}");
    found
}

/// A request that would open a socket, publish, or be let in, if `headers` did not spoil it.
fn request(method: &str, target: &str, host: &str, headers: &str) -> String {
    let body = match method {
        "POST" => r#"{"channel":"lobby","data":1}"#,
        _ => "",
    };
    let (framing, upgrade) = match (method, SOCKETS.iter().any(|path| target.ends_with(path))) {
        ("POST", _) => (
            format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ),
            "",
        ),
        ("GET", true) if !target.contains("/sse/") => (
            String::new(),
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
        _ => (String::new(), ""),
    };
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{upgrade}{headers}{framing}\r\n{body}")
}

#[tokio::test]
async fn no_path_answers_under_a_name_that_is_not_the_servers() {
    let server = TestServer::start(with_key()).await;
    let own = server.addr.to_string();
    let key = format!("X-API-Key: {KEY}\r\n");
    for (method, path) in every_path() {
        // By its own name there is something, so that the name is what is refused.
        let answer = head_of_answer(server.addr, &request(&method, &path, &own, "")).await;
        assert!(
            ![400, 404].contains(&status_of(&answer)) || path == "/send",
            "{method} {path}: {answer}"
        );
        for host in [
            "evil.example",
            "evil.example:80",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "xn--lcalhost-n4a",
            "2130706433.evil",
        ] {
            let request = request(&method, &path, host, &key);
            let answer = head_of_answer(server.addr, &request).await;
            assert_eq!(status_of(&answer), 400, "{request}{answer}");
        }
        let absolute = format!("http://evil.example{path}");
        let request = request(&method, &absolute, &own, &key);
        let answer = head_of_answer(server.addr, &request).await;
        assert_eq!(status_of(&answer), 400, "{request}{answer}");
    }
    nothing_happened(&server).await;
}

#[tokio::test]
async fn no_page_of_another_origin_gets_in_or_reads_or_writes() {
    let server = TestServer::start(with_key()).await;
    let host = server.addr.to_string();
    for (method, path) in every_path() {
        for headers in [
            format!("Origin: {EVIL}\r\nSec-Fetch-Site: cross-site\r\n"),
            "Origin: null\r\n".to_owned(),
            format!("Origin: http://{host}.evil.example\r\n"),
        ] {
            let request = request(&method, &path, &host, &headers);
            let answer = head_of_answer(server.addr, &request).await;
            let (status, lower) = (status_of(&answer), answer.to_lowercase());
            assert!(!lower.contains("\r\naccess-control-"), "{request}{answer}");
            let is_socket = SOCKETS.contains(&&*path) && method == "GET";
            match path.as_str() {
                _ if is_socket => assert_eq!(status, 403, "{request}{answer}"),
                "/send" => assert_eq!(status, 403, "{request}{answer}"),
                api if api.starts_with("/api") => assert_eq!(status, 401, "{request}{answer}"),
                _ => {}
            }
        }
        // What a browser asks before it sends what a form could not: no is the only answer.
        let preflight = format!(
            "Origin: {EVIL}\r\nAccess-Control-Request-Method: {method}\r\n\
             Access-Control-Request-Headers: x-api-key\r\n"
        );
        let request = request("OPTIONS", &path, &host, &preflight);
        let answer = head_of_answer(server.addr, &request).await;
        assert_eq!(status_of(&answer), 405, "{request}{answer}");
        assert!(
            !answer.to_lowercase().contains("\r\naccess-control-"),
            "{answer}"
        );
    }
    nothing_happened(&server).await;
}
