//! What the tests over real sockets share: a server on a free port, and peers that behave or don't.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use slabcast::{
    config::Config,
    fanout::Registry,
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
    tungstenite::{Message, protocol::CloseFrame},
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

/// A server in this process.
pub struct TestServer {
    pub addr: SocketAddr,
    pub node: Arc<Node<Registry>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl TestServer {
    pub async fn start(config: Config) -> Self {
        let server = Server::<Registry>::bind(config).await.unwrap();
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
        let tcp = TcpStream::connect(addr).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let url = format!("ws://{addr}{path_and_query}");
        let (stream, _) = soon("the 101", client_async(url, tcp)).await.unwrap();
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

    /// The close frame, whatever comes before it.
    pub async fn close_frame(&mut self) -> CloseFrame {
        loop {
            match soon("a close frame", self.stream.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return frame,
                Some(Ok(Message::Close(None))) => panic!("a close frame without a code"),
                Some(Ok(_)) => {}
                other => panic!("instead of a close frame: {other:?}"),
            }
        }
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
pub async fn upgraded(server: &TestServer, path: &str) -> TcpStream {
    let mut stream = server.raw().await;
    stream
        .write_all(upgrade_request(path, server.addr).as_bytes())
        .await
        .unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}
