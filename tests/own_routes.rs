//! Requests that an embedder has a part in: what a bug of his costs, what is asked of him and what is
//! not, and which of his routes can't be.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    future::{Ready, ready},
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use slabcast::{
    fanout::{Fanout, Registry},
    id::RoomName,
    node::{AccessError, Arrival, Grant, Hooks, Identity, Node, Wish},
    server::{
        Builder, ServeError, Server,
        http::{Method, Request, Response},
    },
};
use support::{Response as Answer, TestServer, config, log::Lines, upgrade_request};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

fn builder() -> Builder<Registry> {
    Server::builder(config(|_| ()))
}

async fn start(builder: Builder<Registry>) -> TestServer {
    TestServer::of(builder.bind().await.unwrap())
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn says(text: &'static str) -> impl Fn(Arc<Node<Registry>>, Request<Bytes>) -> Answering {
    move |_, _| ready(Response::new(text.into()))
}

type Answering = Ready<Response<Bytes>>;

/// A request without a body.
fn request(server: &TestServer, line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr)
}

/// The answer to a request, on a connection on which there may be more.
async fn ask(stream: &mut TcpStream, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    Answer::read(stream).await
}

/// The same on one of its own.
async fn ask_alone(server: &TestServer, request: &str) -> Answer {
    ask(&mut server.raw().await, request).await
}

/// What is logged by all tests here. For the whole process: whether a line is of interest to anybody is
/// remembered for all threads, whoever comes to it first.
fn logged() -> Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let begin = || {
        let lines = Lines::default();
        tracing::subscriber::set_global_default(lines.subscriber()).unwrap();
        lines
    };
    LINES.get_or_init(begin).clone()
}

/// The errors that have to do with that peer.
fn errors_of(lines: &Lines, peer: SocketAddr) -> Vec<String> {
    let peer = format!(" peer={peer} ");
    lines.that(|line| line.contains(" ERROR ") && line.contains(&peer))
}

/// That a bug was met, as the answer to `request` on that connection, and the next one is answered.
async fn is_a_bug(server: &TestServer, stream: &mut TcpStream, request: &str) {
    let answer = ask(stream, request).await;
    assert_eq!(answer.status, 500, "{request}");
    // What it is, is told to nobody.
    let message = answer.error_message();
    assert!(message.contains("in its log") && !message.contains("embedder"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("connection"), None);
    let healthz = self::request(server, "GET /healthz");
    assert_eq!(ask(stream, &healthz).await.status, 200, "after {request}");
}

async fn broken(_: Arc<Node<Registry>>, _: Request<Bytes>) -> Response<Bytes> {
    panic!("a bug of the embedder's")
}

#[tokio::test]
async fn a_bug_in_an_own_route_is_a_500_and_the_connection_goes_on() {
    let lines = logged();
    let server = start(
        builder()
            .route(Method::GET, "/broken/{what}", broken)
            .route(Method::POST, "/orders", |_, _| -> Answering {
                panic!("a bug of the embedder's, before there is anything to wait for")
            }),
    )
    .await;
    let mut stream = server.raw().await;
    let get = request(&server, "GET /broken/thing?token=secret");
    is_a_bug(&server, &mut stream, &get).await;
    let post =
        request(&server, "POST /orders").replace("\r\n\r\n", "\r\nContent-Length: 3\r\n\r\n");
    is_a_bug(&server, &mut stream, &(post + "one")).await;
    // One behind the other, before any of them is answered.
    let both = get.clone() + &request(&server, "GET /readyz");
    assert_eq!(ask(&mut stream, &both).await.status, 500);
    assert_eq!(Answer::read(&mut stream).await.body, "ok\n");

    let metrics = ask(&mut stream, &request(&server, "GET /metrics")).await;
    assert!(
        metrics.body.contains(r#"route="own",code="500"} 3"#),
        "{}",
        metrics.body
    );
    let errors = errors_of(&lines, stream.local_addr().unwrap());
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (line, path) in errors.iter().zip([
        "GET path=\"/broken/thing\"",
        "POST path=\"/orders\"",
        "GET path=\"/broken/thing\"",
    ]) {
        assert!(line.contains("a bug in the answer to a request"), "{line}");
        assert!(line.contains(path), "{line}");
        assert!(!line.contains("secret"), "{line}");
    }
    server.stop().await;
}

/// Counts who is asked about, and has bugs in some rooms.
#[derive(Default)]
struct Hooked(Arc<AtomicUsize>);

impl<F: Fanout> Hooks<F> for Hooked {
    async fn connect(
        &self,
        _: &Arc<Node<F>>,
        arrival: Arrival<'_>,
    ) -> Result<Option<Identity>, AccessError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let path = arrival.head.uri.path();
        assert!(!path.ends_with("nobody"), "a bug of the embedder's");
        Ok(None)
    }

    async fn subscribe(
        &self,
        _: &Arc<Node<F>>,
        wish: Wish<'_>,
    ) -> Result<Option<Grant>, AccessError> {
        assert_ne!(wish.room.as_str(), "nowhere", "a bug of the embedder's");
        Ok(None)
    }
}

#[tokio::test]
async fn a_bug_in_a_hook_that_a_request_asks_is_a_500_and_the_connection_goes_on() {
    logged();
    let server = start(builder().hooks(Hooked::default())).await;
    let mut stream = server.raw().await;
    for path in ["/ws/nobody", "/ws/nowhere"] {
        is_a_bug(&server, &mut stream, &upgrade_request(path, server.addr)).await;
    }
    for path in ["/sse/nobody", "/sse/nowhere"] {
        let listen = request(&server, &format!("GET {path}"));
        is_a_bug(&server, &mut stream, &listen).await;
    }
    let metrics = ask(&mut stream, &request(&server, "GET /metrics")).await;
    for route in ["/ws/{room}", "/sse/{room}"] {
        let counted = format!(r#"route="{route}",code="500"}} 2"#);
        assert!(metrics.body.contains(&counted), "{}", metrics.body);
    }
    // It can still become a session.
    let upgraded = ask(&mut stream, &upgrade_request("/ws/lobby", server.addr)).await;
    assert_eq!(upgraded.status, 101);
    drop(stream);
    let status = server.until("its end", |status| {
        status.connections == 0 && status.opened == 1
    });
    assert_eq!(status.await.closed["internal"], 0);
    server.stop().await;
}

#[tokio::test]
async fn nonsense_costs_no_hook() {
    let asked = Arc::new(AtomicUsize::new(0));
    let hooks = Hooked(asked.clone());
    let server = start(builder().hooks(hooks).plain("/live", room("lobby"))).await;
    let good = upgrade_request("/ws/lobby", server.addr);
    let own = upgrade_request("/live", server.addr);
    let listen = request(&server, "GET /sse/lobby");
    let with =
        |request: &str, line: &str| request.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1);
    let another_version = |request: &str| request.replace("Version: 13", "Version: 8");
    let short_key = good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==");
    for (nonsense, status) in [
        (request(&server, "GET /ws/lobby"), 426),
        (request(&server, "GET /live"), 426),
        (another_version(&good), 426),
        (another_version(&own), 426),
        (short_key, 400),
        (good.replace("Connection: Upgrade\r\n", ""), 400),
        (with(&good, "Content-Length: 5") + "hello", 400),
        (with(&good, "Upgrade: websocket"), 400),
        (good.replace("/ws/lobby", "/ws/lobby?since=nonsense"), 400),
        (
            listen.replace("/sse/lobby", "/sse/lobby?since=nonsense"),
            400,
        ),
        (with(&listen, "Last-Event-ID: nonsense"), 400),
        (with(&good, "Origin: http://elsewhere.example"), 403),
        (with(&listen, "Origin: http://elsewhere.example"), 403),
    ] {
        let answer = ask_alone(&server, &nonsense).await;
        assert_eq!(answer.status, status, "{nonsense}");
        assert_eq!(asked.load(Ordering::SeqCst), 0, "{nonsense}");
    }
    for (wish, status) in [(good, 101), (own, 101), (listen, 200)] {
        let before = asked.load(Ordering::SeqCst);
        let mut stream = server.raw().await;
        stream.write_all(wish.as_bytes()).await.unwrap();
        let head = support::read_head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(asked.load(Ordering::SeqCst), before + 1, "{wish}");
    }
    server.stop().await;
}

#[tokio::test]
async fn two_routes_for_the_same_are_refused_by_name() {
    let get = |builder: Builder<Registry>, path| builder.route(Method::GET, path, says("it"));
    for (builder, path) in [
        (get(get(builder(), "/a"), "/a"), "/a"),
        (get(builder(), "/a").page("/a", "it"), "/a"),
        (get(builder(), "/a").plain("/a", room("a")), "/a"),
        (get(builder().plain("/a", room("a")), "/a"), "/a"),
        (
            builder().plain("/a", room("a")).plain("/a", room("b")),
            "/a",
        ),
        (get(get(builder(), "/a/{one}"), "/a/{two}"), "/a/{two}"),
    ] {
        let said = format!("{builder:?}");
        match builder.bind().await {
            Err(error @ ServeError::Route { .. }) => {
                let error = error.to_string();
                assert!(error.contains(&format!("{path:?}")), "{said}: {error}");
            }
            other => panic!("{said}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn each_method_of_a_path_has_its_own_handler() {
    let server = start(
        builder()
            .route(Method::GET, "/a", says("get"))
            .route(Method::POST, "/a", says("post"))
            .route(Method::HEAD, "/a", says("head of its own"))
            .route(Method::GET, "/b", says("get"))
            // In the place of ours, which is no second one of his.
            .route(Method::GET, "/status", says("mine")),
    )
    .await;
    for (line, length) in [
        ("GET /a", "get".len()),
        ("POST /a", "post".len()),
        ("HEAD /a", "head of its own".len()),
        ("HEAD /b", "get".len()),
        ("GET /status", "mine".len()),
    ] {
        let mut stream = server.raw().await;
        let request = request(&server, line);
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = support::read_head(&mut stream).await;
        let wanted = format!("content-length: {length}\r\n");
        assert!(head.contains(&wanted), "{line}: {head}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_is_sent_to_a_description_that_is_not_there() {
    for (builder, is_ours) in [
        (builder(), true),
        (builder().only_own_routes().page("/", "it"), false),
        (builder().page("/openapi.yaml", "another one"), false),
    ] {
        let server = start(builder).await;
        let answer = ask_alone(&server, &request(&server, "GET /nothing")).await;
        assert_eq!(answer.status, 404);
        let message = answer.error_message();
        assert!(message.contains("/nothing"), "{message}");
        assert_eq!(message.contains("/openapi.yaml"), is_ours, "{message}");
        server.stop().await;
    }
}

/// Refuses without a word.
async fn wordless(_: Arc<Node<Registry>>, _: Request<Bytes>) -> Response<Bytes> {
    let answer = Response::builder()
        .status(401)
        .header("www-authenticate", "Bearer");
    answer.body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn an_own_refusal_without_a_word_stays_as_it_is() {
    let server = start(builder().route(Method::GET, "/closed", wordless)).await;
    let mut stream = server.raw().await;
    for _ in 0..2 {
        let request = request(&server, "GET /closed");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = support::read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
        assert!(head.contains("www-authenticate: Bearer\r\n"), "{head}");
        assert!(head.contains("content-length: 0\r\n"), "{head}");
        assert!(!head.contains("connection: close"), "{head}");
    }
    server.stop().await;
}
