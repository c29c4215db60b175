//! What the tests over real sockets share: a server on a free port, and peers that behave or don't.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

pub mod books;
pub mod log;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use slabcast::{
    config::Config,
    fanout::{Fanout, Registry},
    node::{Node, NodeStatus},
    server::Server,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::CloseFrame},
};

/// No wait in a test is longer, so that a promise that is broken by silence fails too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration for tests: a free port, and what the closure changes.
pub fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        ..Config::default()
    };
    // Many peers here are dropped or stop reading, and nobody wants to wait for their goodbye.
    config.timeouts.close = Duration::from_millis(300);
    change(&mut config);
    config
}

/// `future`'s output, if it comes before patience ends.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// Makes each of these tests one for every engine.
#[macro_export]
macro_rules! on_every_engine {
    ($($test:ident),* $(,)?) => {
        on_every_engine!(@ lock, ::slabcast::fanout::Registry, $($test)*);
        on_every_engine!(@ hub, ::slabcast::fanout::Hub, $($test)*);
    };
    (@ $module:ident, $engine:ty, $($test:ident)*) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test::<$engine>().await;
            })*
        }
    };
}

/// A server in this process.
pub struct TestServer<F: Fanout = Registry> {
    pub addr: SocketAddr,
    pub node: Arc<Node<F>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl TestServer {
    /// On the default engine.
    pub async fn start(config: Config) -> Self {
        Self::on_engine(config).await
    }
}

impl<F: Fanout> TestServer<F> {
    pub async fn on_engine(config: Config) -> Self {
        Self::of(Server::bind(config).await.unwrap())
    }

    /// One that was put together by the test.
    pub fn of(server: Server<F>) -> Self {
        let (addr, node) = (server.local_addr(), server.node().clone());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            server
                .run(async { stopped.await.unwrap_or_default() })
                .await
                .unwrap();
        });
        Self {
            addr,
            node,
            stop: Some(stop),
            running,
        }
    }

    /// Drains, and waits until that is done.
    pub async fn stop(mut self) {
        self.begin_drain();
        soon("the end of the drain", &mut self.running)
            .await
            .unwrap();
    }

    /// Begins to drain.
    pub fn begin_drain(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub async fn drained(&mut self) {
        soon("the end of the drain", &mut self.running)
            .await
            .unwrap();
    }

    pub async fn status(&self) -> NodeStatus {
        self.node.status(usize::MAX).await
    }

    /// Waits until the status is as `is_reached` wants it.
    pub async fn until(&self, what: &str, is_reached: impl Fn(&NodeStatus) -> bool) -> NodeStatus {
        let looking = async {
            loop {
                let status = self.status().await;
                if is_reached(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match timeout(PATIENCE, looking).await {
            Ok(status) => status,
            Err(_) => panic!("{what} did not happen: {:#?}", self.status().await),
        }
    }

    pub async fn plain(&self, path_and_query: &str) -> Peer {
        Peer::connect(self.addr, path_and_query).await
    }

    /// A Centrifugo peer that has sent `connect` and had the reply.
    pub async fn centrifugo(&self, user: &str) -> Peer {
        let mut peer = Peer::connect(self.addr, &format!("/connection/websocket?uid={user}")).await;
        let reply = peer.ask(json!({"id": 1, "connect": {}})).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        peer
    }

    pub async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }
}

/// A WebSocket peer that follows the protocol.
pub struct Peer {
    pub stream: WebSocketStream<TcpStream>,
}

impl Peer {
    pub async fn connect(addr: SocketAddr, path_and_query: &str) -> Self {
        Self::connect_with(addr, path_and_query, None).await
    }

    /// The same, with a header.
    pub async fn connect_with(
        addr: SocketAddr,
        path_and_query: &str,
        header: Option<(&'static str, &str)>,
    ) -> Self {
        let tcp = TcpStream::connect(addr).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let url = format!("ws://{addr}{path_and_query}");
        let mut request = url.into_client_request().unwrap();
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (stream, _) = soon("the 101", client_async(request, tcp)).await.unwrap();
        Self { stream }
    }

    pub async fn send(&mut self, message: impl Into<Message>) {
        soon("sending", self.stream.send(message.into()))
            .await
            .unwrap();
    }

    pub async fn send_json(&mut self, command: Value) {
        self.send(command.to_string()).await;
    }

    /// The next message that is not a ping or a pong.
    pub async fn next(&mut self) -> Message {
        loop {
            match soon("a message", self.stream.next()).await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return message,
                other => panic!("instead of a message: {other:?}"),
            }
        }
    }

    pub async fn next_text(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.to_string(),
            other => panic!("instead of a text: {other:?}"),
        }
    }

    pub async fn next_json(&mut self) -> Value {
        loop {
            let text = self.next_text().await;
            if text == "{}" {
                self.send("{}").await;
                continue;
            }
            return serde_json::from_str(&text).unwrap();
        }
    }

    /// Sends one command and returns its reply, which must be the next thing to come.
    pub async fn ask(&mut self, command: Value) -> Value {
        let id = command["id"].clone();
        self.send_json(command).await;
        let reply = self.next_json().await;
        assert_eq!(reply["id"], id, "{reply}");
        reply
    }

    /// The close frame, whatever comes before it. Answers it, and sees that nothing follows.
    pub async fn close_frame(&mut self) -> CloseFrame {
        let frame = loop {
            match soon("a close frame", self.stream.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => break frame,
                Some(Ok(Message::Close(None))) => panic!("a close frame without a code"),
                Some(Ok(_)) => {}
                other => panic!("instead of a close frame: {other:?}"),
            }
        };
        if let Some(Ok(message)) = soon("the end of the stream", self.stream.next()).await {
            panic!("behind the close frame: {message:?}");
        }
        frame
    }

    pub async fn close_code(&mut self) -> u16 {
        self.close_frame().await.code.into()
    }
}

/// The request of an opening handshake, with `change` to make it a wrong one.
pub fn upgrade_request(path: &str, addr: SocketAddr) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A masked client frame, with all bits as given (RFC 6455, 5.2).
pub fn client_frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![first_byte];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// Reads until the blank line behind a response's head, and returns the head.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
    };
    soon("a response", reading).await;
    String::from_utf8(head).unwrap()
}

/// Everything up to the end of the stream.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset after the last byte is an end as well.
    let _ = soon("the end of the stream", stream.read_to_end(&mut bytes)).await;
    bytes
}

/// A raw socket behind a successful upgrade.
pub async fn upgraded<F: Fanout>(server: &TestServer<F>, path: &str) -> TcpStream {
    let mut stream = server.raw().await;
    stream
        .write_all(upgrade_request(path, server.addr).as_bytes())
        .await
        .unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// An HTTP answer, taken apart.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    /// Reads one answer, and not a byte of the next.
    pub async fn read(stream: &mut TcpStream) -> Self {
        let head = read_head(stream).await;
        let status = head.get(9..12).and_then(|digits| digits.parse().ok());
        let mut response = Self {
            status: status.unwrap_or_else(|| panic!("not a response: {head:?}")),
            head,
            body: String::new(),
        };
        if let Some(length) = response.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            soon("the body", stream.read_exact(&mut body))
                .await
                .unwrap();
            response.body = String::from_utf8(body).unwrap();
        }
        response
    }

    /// The only header of that name, if there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice in {}", self.head);
        value
    }

    /// What a refusal says, which must be JSON and repeat its own status.
    pub fn error_message(&self) -> String {
        let content_type = self.header("content-type");
        assert_eq!(content_type, Some("application/json"), "{self:?}");
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["error"]["code"], self.status, "{self:?}");
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "{self:?}");
        message.to_owned()
    }
}

/// A frame that the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFrame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl ServerFrame {
    /// Takes one frame off the front of `bytes`; `None` when it is not there whole. A server may
    /// neither mask nor set reserved bits, and ours has no reason to fragment.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (&[first, second], mut rest) = bytes.split_first_chunk()?;
        assert_eq!(first & 0xf0, 0x80, "final, and no reserved bit: {first:#x}");
        let length = match second {
            126 => {
                let (length, behind) = rest.split_first_chunk()?;
                rest = behind;
                u16::from_be_bytes(*length).into()
            }
            127 => {
                let (length, behind) = rest.split_first_chunk()?;
                rest = behind;
                u64::from_be_bytes(*length) as usize
            }
            length => {
                assert!(length < 126, "a server's frame is not masked");
                length.into()
            }
        };
        let (payload, behind) = rest.split_at_checked(length)?;
        *bytes = behind;
        Some(Self {
            opcode: first & 0x0f,
            payload: payload.to_vec(),
        })
    }

    /// Reads the next frame.
    pub async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        loop {
            if let Some(frame) = Self::take(&mut &bytes[..]) {
                return frame;
            }
            match soon("a frame", stream.read_u8()).await {
                Ok(byte) => bytes.push(byte),
                Err(error) => panic!("instead of a frame, after {bytes:?}: {error}"),
            }
        }
    }

    pub fn text(&self) -> &str {
        assert_eq!(self.opcode, 1, "instead of a text: {self:?}");
        str::from_utf8(&self.payload).unwrap()
    }
}

/// What the server sent up to the end of its stream: frames, and a close frame behind which there
/// was nothing.
#[derive(Debug)]
pub struct Goodbye {
    pub before: Vec<ServerFrame>,
    pub code: u16,
    pub reason: String,
}

impl Goodbye {
    pub async fn read(stream: &mut TcpStream) -> Self {
        let bytes = read_to_end(stream).await;
        let mut rest = &bytes[..];
        let mut before: Vec<_> = std::iter::from_fn(|| ServerFrame::take(&mut rest)).collect();
        assert!(rest.is_empty(), "cut off behind {before:?}: {rest:?}");
        let close = before.pop().expect("the stream ended without a word");
        assert_eq!(close.opcode, 8, "behind {before:?}: {close:?}");
        assert!(
            before.iter().all(|frame| frame.opcode != 8),
            "nothing follows a close frame: {before:?}"
        );
        let (code, reason) = close.payload.split_first_chunk().expect("a code");
        Self {
            before,
            code: u16::from_be_bytes(*code),
            reason: String::from_utf8(reason.to_vec()).unwrap(),
        }
    }
}

/// What a program logs, where a test says nothing of it.
pub const LOG_FILTER: &str = "error";

/// The program itself, as a process of its own, which ends with the test.
pub struct Program {
    pub addr: SocketAddr,
    pub child: tokio::process::Child,
    stdout: tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStdout>>,
}

impl Program {
    /// Starts it with these `--set` options.
    pub async fn start(settings: &[&str]) -> Self {
        Self::start_by(Self::command(), LOG_FILTER, settings, &[]).await
    }

    fn command() -> tokio::process::Command {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_slabcast"));
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Starts `slabcast exec` with these options and this command, in the room `build`.
    pub async fn exec(options: &[&str], argv: &[&str]) -> Self {
        let mut command = Self::command();
        command.args(["exec", "--room", "build"]).args(options);
        Self::start_by(command, LOG_FILTER, &[], &[&["--"], argv].concat()).await
    }

    /// The same under a limit of open files, which it can't raise.
    pub async fn start_with_descriptors(descriptors: usize, settings: &[&str]) -> Self {
        let shell = Self::in_shell(&format!("ulimit -n {descriptors} &&"));
        Self::start_by(shell, LOG_FILTER, settings, &[]).await
    }

    /// The program by a shell, in which `before` comes first: settings of a process, or variables.
    pub fn in_shell(before: &str) -> tokio::process::Command {
        let mut shell = tokio::process::Command::new("sh");
        // `exec`, so that the child is the program and not the shell.
        let script = format!("{before} exec \"$0\" \"$@\"");
        shell
            .args(["-c", &script, env!("CARGO_BIN_EXE_slabcast")])
            .stdin(std::process::Stdio::null());
        shell
    }

    /// By this command, whose standard input is its own affair.
    pub async fn start_by(
        mut command: tokio::process::Command,
        log_filter: &str,
        settings: &[&str],
        rest: &[&str],
    ) -> Self {
        use tokio::io::AsyncBufReadExt as _;
        command.args(["--listen", "127.0.0.1:0", "--log", log_filter]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command
            .args(rest)
            .env_clear()
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let line = soon("the address", stdout.next_line()).await.unwrap();
        let line = line.expect("it says where it listens");
        let addr = line
            .strip_prefix("slabcast listens on http://")
            .and_then(|rest| rest.strip_suffix('/'))
            .unwrap_or_else(|| panic!("{line}"));
        Self {
            addr: addr.parse().unwrap(),
            child,
            stdout,
        }
    }

    /// The next line of its standard output.
    pub async fn line(&mut self) -> String {
        let line = soon("a line", self.stdout.next_line()).await.unwrap();
        line.expect("it has more to say")
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        books::signal(self.pid(), name);
    }

    /// Its exit code, once it has ended.
    pub async fn exit_code(&mut self) -> Option<i32> {
        soon("its end", self.child.wait()).await.unwrap().code()
    }

    /// What `/status` says.
    pub async fn status(&self) -> Value {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!("GET /status HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = Response::read(&mut stream).await;
        serde_json::from_str(&response.body).unwrap_or_else(|_| panic!("{response:?}"))
    }
}
