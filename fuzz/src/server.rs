//! A server of this process's own, and a peer that sends it bytes.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::OnceLock,
    time::Duration,
};

use slabcast::{config::Config, fanout::Registry, server::Server};
use tokio::runtime::Runtime;

use super::frames::messages_in;

/// Of a message. Small, so that messages which exceed it are tried.
pub const MESSAGE_BYTES: usize = 1024;

/// What is read or written sooner, or never.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    addr: SocketAddr,
    _runtime: Runtime,
}

/// Where the server listens, which the first to ask starts.
pub fn addr() -> SocketAddr {
    static RUNNING: OnceLock<Running> = OnceLock::new();
    RUNNING.get_or_init(start).addr
}

fn start() -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        ..Config::default()
    };
    config.limits.message_bytes = MESSAGE_BYTES;
    config.timeouts.close = Duration::from_secs(2);
    config.room_defaults.history_size = 4;
    config.room_defaults.history_ttl = Duration::from_secs(1);
    let server = runtime.block_on(Server::<Registry>::bind(config)).unwrap();
    let addr = server.local_addr();
    runtime.spawn(async move {
        server.run(std::future::pending()).await.unwrap();
    });
    Running {
        addr,
        _runtime: runtime,
    }
}

/// What a peer says, and how.
pub struct Speech<'a> {
    pub path: &'a str,
    pub wire: &'a [u8],
    /// How much of it goes together with the request.
    pub glued: usize,
    /// How much of the rest goes at a time.
    pub chunk: usize,
    /// What is said when that many messages have come back.
    pub farewell: Option<(usize, Vec<u8>)>,
}

impl Speech<'_> {
    /// Says it, ends the stream, and returns what comes behind the 101.
    pub fn hold(&self) -> Vec<u8> {
        let addr = addr();
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.path
        );
        let mut answer = Vec::new();
        if let Err(error) = self.exchange(&mut stream, head.as_bytes(), &mut answer) {
            // It may be gone by then, and never hangs.
            let gone = [
                ErrorKind::ConnectionReset,
                ErrorKind::BrokenPipe,
                ErrorKind::NotConnected,
                ErrorKind::UnexpectedEof,
            ];
            assert!(gone.contains(&error.kind()), "{error}, after {answer:?}");
            let _ = stream.read_to_end(&mut answer);
        }
        behind_head(&answer)
            .unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(&answer)))
            .to_vec()
    }

    fn exchange(
        &self,
        stream: &mut TcpStream,
        head: &[u8],
        answer: &mut Vec<u8>,
    ) -> io::Result<()> {
        let (glued, rest) = self.wire.split_at(self.glued.min(self.wire.len()));
        stream.write_all(&[head, glued].concat())?;
        for piece in rest.chunks(self.chunk.max(1)) {
            stream.write_all(piece)?;
        }
        if let Some((messages, farewell)) = &self.farewell {
            while behind_head(answer).is_none_or(|bytes| messages_in(bytes) < *messages) {
                read_some(stream, answer)?;
            }
            stream.write_all(farewell)?;
        }
        stream.shutdown(Shutdown::Write)?;
        stream.read_to_end(answer).map(|_| ())
    }
}

fn behind_head(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{answer:?}");
    Some(&answer[end + 4..])
}

fn read_some(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        bytes => {
            answer.extend_from_slice(&buffer[..bytes]);
            Ok(())
        }
    }
}
