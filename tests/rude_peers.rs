//! Peers that go without a word, at every point where one can: what is left of them is nothing.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{net::SocketAddr, process::Stdio};

use support::{
    Peer, Program, Response,
    books::{ENGINES, NO_HISTORY, raise_descriptor_limit, signal},
    client_frame, read_to_end, soon, upgrade_request,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    process::Command,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

const TEXT: u8 = 0x81;
const FIRST_FRAGMENT: u8 = 0x01;
const CLOSE: u8 = 0x88;

const PLAIN: &str = "/ws/lobby";
const CENTRIFUGO: &str = "/connection/websocket";

/// How a peer goes.
#[derive(Debug, Clone, Copy)]
enum Exit {
    /// Its system says that nothing follows.
    Fin,
    /// Its system says that it knows of no connection.
    Reset,
    /// It says that nothing follows, and goes on reading until it is told the same.
    Half,
}

const EXITS: [Exit; 3] = [Exit::Fin, Exit::Reset, Exit::Half];

async fn go(mut stream: TcpStream, exit: Exit) {
    match exit {
        Exit::Fin => {}
        Exit::Reset => stream.set_zero_linger().unwrap(),
        Exit::Half => {
            stream.shutdown().await.unwrap();
            read_to_end(&mut stream).await;
        }
    }
}

/// Somebody who speaks in the lobby for as long as others come and go, and hears every word of it.
struct Witness {
    stop: oneshot::Sender<()>,
    speaking: JoinHandle<u64>,
}

impl Witness {
    async fn begin(addr: SocketAddr) -> Self {
        let mut peer = Peer::connect(addr, PLAIN).await;
        let (stop, mut stopped) = oneshot::channel();
        let speaking = tokio::spawn(async move {
            let mut said = 0;
            while stopped.try_recv().is_err() {
                let text = format!("{said} {}", "x".repeat(2_000));
                peer.send(text.as_str()).await;
                assert_eq!(peer.next_text().await, text, "and nothing else");
                said += 1;
            }
            said
        });
        Self { stop, speaking }
    }

    /// Goes, and returns how many messages it has said and heard.
    async fn end(self) -> u64 {
        self.stop.send(()).unwrap();
        soon("the witness's end", self.speaking).await.unwrap()
    }
}

/// A member of the lobby on either way in, without anything that it was sent having been read.
async fn member(addr: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = upgrade_request(path, addr);
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(Response::read(&mut stream).await.status, 101);
    if path == CENTRIFUGO {
        let join = concat!(
            r#"{"id":1,"connect":{}}"#,
            "\n",
            r#"{"id":2,"subscribe":{"channel":"lobby"}}"#
        );
        let frame = client_frame(TEXT, join.as_bytes());
        stream.write_all(&frame).await.unwrap();
    }
    stream
}

/// What peers have sent when they go: nothing, and frames up to each byte that matters.
fn torn_frames() -> Vec<Vec<u8>> {
    // Four bytes of header, four of mask, and the payload.
    let long = client_frame(FIRST_FRAGMENT, &[b'x'; 300]);
    let mut torn: Vec<_> = (0..=12).map(|len| long[..len].to_vec()).collect();
    torn.push(long[..long.len() - 1].to_vec());
    // A fragment that is whole, and no other behind it.
    torn.push(long);
    // A close frame without its last byte, behind an empty ping.
    let mut close = client_frame(0x89, b"");
    close.extend(client_frame(CLOSE, &[0x03, 0xe8]));
    close.pop();
    torn.push(close);
    torn
}

#[tokio::test]
async fn members_that_go_in_the_middle_of_a_frame_leave_nothing_behind() {
    const ROUNDS: usize = 4;
    raise_descriptor_limit();
    for engine in ENGINES {
        let program = Program::start(&[engine, NO_HISTORY]).await;
        let idle = program.idle();
        let addr = program.addr;
        let witness = Witness::begin(addr).await;
        let mut gone = 0;
        for _ in 0..ROUNDS {
            let mut going = JoinSet::new();
            for torn in torn_frames() {
                for (path, exit) in [PLAIN, CENTRIFUGO]
                    .into_iter()
                    .flat_map(|path| EXITS.map(|exit| (path, exit)))
                {
                    let torn = torn.clone();
                    going.spawn(async move {
                        let mut stream = member(addr, path).await;
                        stream.write_all(&torn).await.unwrap();
                        go(stream, exit).await;
                    });
                    gone += 1;
                }
            }
            soon("their going", going.join_all()).await;
        }
        let said = witness.end().await;
        let status = program.settled(idle, 0, 0).await;
        // Some reset theirs before it was a session's, and it ended as a request did.
        let closed = &status["closed"];
        let ends: u64 = closed
            .as_object()
            .unwrap()
            .values()
            .filter_map(|n| n.as_u64())
            .sum();
        assert_eq!(status["opened"], ends, "{closed}");
        assert_eq!(closed["peer_gone"], gone + 1, "the witness too: {closed}");
        assert_eq!(status["published"], said, "{status:#}");
    }
}

#[tokio::test]
async fn handshakes_that_are_broken_off_leave_nothing_behind() {
    raise_descriptor_limit();
    for engine in ENGINES {
        let program = Program::start(&[engine, NO_HISTORY]).await;
        let idle = program.idle();
        let addr = program.addr;
        let witness = Witness::begin(addr).await;
        for path in [PLAIN, CENTRIFUGO, "/sse/lobby"] {
            let request = upgrade_request(path, addr);
            let mut going = JoinSet::new();
            for len in (0..request.len()).step_by(3).chain([request.len()]) {
                for exit in EXITS {
                    let part = request[..len].to_owned();
                    going.spawn(async move {
                        let mut stream = TcpStream::connect(addr).await.unwrap();
                        stream.write_all(part.as_bytes()).await.unwrap();
                        go(stream, exit).await;
                    });
                }
            }
            soon("their going", going.join_all()).await;
        }
        let said = witness.end().await;
        let status = program.settled(idle, 0, 0).await;
        assert_eq!(status["published"], said, "{status:#}");
        assert_eq!(status["closed"]["internal"], 0, "{status:#}");
    }
}

/// A process that sends what it gets on its standard input to the server, and reads no answer.
fn client_process(addr: SocketAddr) -> Command {
    let mut shell = Command::new("bash");
    // `exec`, so that the process that is killed is the one that has the socket.
    let script = format!("exec cat >/dev/tcp/{}/{}", addr.ip(), addr.port());
    shell
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .kill_on_drop(true);
    shell
}

#[tokio::test]
async fn clients_that_are_killed_in_the_middle_of_a_frame_leave_nothing_behind() {
    const CLIENTS: usize = 20;
    for engine in ENGINES {
        let program = Program::start(&[engine, NO_HISTORY]).await;
        let idle = program.idle();
        let frame = client_frame(TEXT, &[b'x'; 5_000]);
        let half = &frame[..frame.len() / 2];
        let mut sent = upgrade_request(PLAIN, program.addr).into_bytes();
        sent.extend(client_frame(TEXT, b"hello"));
        let head = sent.len() - client_frame(TEXT, b"hello").len();
        sent.extend(half);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = client_process(program.addr).spawn().unwrap();
            let mut stdin = client.stdin.take().unwrap();
            stdin.write_all(&sent).await.unwrap();
            // Open, or `cat` would end by itself.
            clients.push((client, stdin));
        }
        let behind_head = (sent.len() - head) * CLIENTS;
        program
            .until("all that they have sent", |status| {
                status["received_bytes"] == behind_head && status["published"] == CLIENTS
            })
            .await;
        for (client, _) in &clients {
            signal(client.id().expect("it runs"), "KILL");
        }
        let status = program.settled(idle, 0, 0).await;
        assert_eq!(status["closed"]["peer_gone"], CLIENTS, "{status:#}");
        // The half of a message was never one.
        assert_eq!(status["published"], CLIENTS, "{status:#}");
    }
}
