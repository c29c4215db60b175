//! The program as a client: `slabcast publish` and `slabcast connect`, against a server that is the
//! program too.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{net::SocketAddr, process::Stdio};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::{Peer, Program, soon};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::watch,
    task::JoinHandle,
};
use tokio_tungstenite::tungstenite::Message;

fn slabcast(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slabcast"));
    command.args(args).env_clear().kill_on_drop(true);
    command
}

fn url(addr: SocketAddr) -> String {
    format!("ws://{addr}")
}

/// What a program that ran to its end left behind.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the program with that standard input.
async fn run(args: &[&str], input: impl Into<Vec<u8>>) -> Ran {
    let mut child = slabcast(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.into());
    let writing = tokio::spawn(async move {
        // It may have seen enough before the end.
        let _ = stdin.write_all(&input).await;
    });
    let output = soon("its end", child.wait_with_output()).await.unwrap();
    writing.abort();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A `slabcast connect` that runs.
struct Terminal {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Terminal {
    fn start(addr: SocketAddr, args: &[&str]) -> Self {
        let mut child = slabcast(&["connect", &url(addr), "lobby"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()).lines(),
            stderr: BufReader::new(child.stderr.take().unwrap()).lines(),
            child,
        }
    }

    /// The same, once it is in the room.
    async fn joined(addr: SocketAddr, args: &[&str]) -> Self {
        let mut terminal = Self::start(addr, args);
        terminal.until_noted("you are in").await;
        terminal
    }

    async fn types(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        soon("typing", stdin.write_all(format!("{line}\n").as_bytes()))
            .await
            .unwrap();
    }

    /// The next line on standard output.
    async fn line(&mut self) -> String {
        let line = soon("a line", self.stdout.next_line()).await.unwrap();
        line.expect("standard output ended")
    }

    /// The next line on standard output that says so, whatever comes before.
    async fn until(&mut self, wanted: &str) -> String {
        loop {
            let line = self.line().await;
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// The next line on standard error that says so.
    async fn until_noted(&mut self, wanted: &str) -> String {
        loop {
            let line = soon(wanted, self.stderr.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("nobody said {wanted}"));
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// The next event of a program that prints JSON, of that kind.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            let event: Value = serde_json::from_str(&self.line().await).unwrap();
            if event["event"] == kind {
                return event;
            }
        }
    }

    /// Its exit code, after there was nothing more to type.
    async fn end(mut self) -> Option<i32> {
        self.stdin = None;
        soon("its end", self.child.wait()).await.unwrap().code()
    }
}

#[tokio::test]
async fn ten_thousand_lines_arrive_once_and_in_their_order() {
    const COUNT: usize = 10_000;
    let program = Program::start(&[]).await;
    let mut peer = Peer::connect(program.addr, "/ws/lobby").await;
    let input: String = (0..COUNT).map(|n| format!("{n} a line\n")).collect();
    let url = url(program.addr);
    let publishing =
        tokio::spawn(async move { run(&["publish", "lobby", "-", "--url", &url], input).await });
    for n in 0..COUNT {
        assert_eq!(peer.next_text().await, format!("{n} a line"));
    }
    let ran = publishing.await.unwrap();
    assert_eq!(
        (ran.code, &*ran.stdout),
        (Some(0), "published 10000 messages\n")
    );
    assert_eq!(ran.stderr, "");
    peer.send("and nothing else").await;
    assert_eq!(peer.next_text().await, "and nothing else");
}

#[tokio::test]
async fn a_message_is_text_or_json_and_says_who_it_is_from() {
    let program = Program::start(&[]).await;
    let url = url(program.addr);
    let mut peer = Peer::connect(program.addr, "/connection/websocket").await;
    peer.ask(json!({"id": 1, "connect": {}})).await;
    peer.ask(json!({"id": 2, "subscribe": {"channel": "lobby"}}))
        .await;
    for (args, data) in [
        (&["lobby", "say \"hi\""][..], json!("say \"hi\"")),
        (&["lobby", "-1"], json!("-1")),
        (
            &["--json-data", "lobby", "{\"a\":\n[1]}"],
            json!({"a": [1]}),
        ),
    ] {
        let args = [&["publish", "--url", &url, "--user", "ada b"], args].concat();
        let ran = run(&args, "").await;
        assert_eq!((ran.code, &*ran.stdout), (Some(0), "published 1 message\n"));
        let push = peer.next_json().await;
        assert_eq!(push["push"]["pub"]["data"], data);
        assert_eq!(push["push"]["pub"]["info"]["user"], "ada b");
    }
    // Empty lines are messages, and a last line needs no end.
    let ran = run(&["publish", "lobby", "--url", &url], "a\n\nb").await;
    assert_eq!(ran.stdout, "published 3 messages\n");
    for data in ["a", "", "b"] {
        assert_eq!(peer.next_json().await["push"]["pub"]["data"], data);
    }
}

#[tokio::test]
async fn the_first_line_that_was_not_published_is_named() {
    let program = Program::start(&["limits.message_bytes=1000"]).await;
    let url = url(program.addr);
    let long = format!("a\nb\n{}\nc\n", "x".repeat(2000));
    for (args, input, published, said) in [
        (
            &["--json-data", "lobby"][..],
            b"1\n{}\n{]\n2\n".to_vec(),
            "published 2 messages\n",
            "line 3: it is not JSON",
        ),
        (
            &["lobby"],
            b"a\n\xff\n".to_vec(),
            "published 1 message\n",
            "line 2: it is not UTF-8",
        ),
        (
            &["dialog#42"],
            b"a\n".to_vec(),
            "published 0 messages\n",
            "line 1: refused: permission denied: room dialog#42 belongs",
        ),
        (
            &["lobby"],
            long.into_bytes(),
            "published 2 messages\n",
            "line 3: ",
        ),
    ] {
        let ran = run(&[&["publish", "--url", &url], args].concat(), input).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert_eq!(ran.stdout, published, "{ran:?}");
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
}

#[tokio::test]
async fn a_server_that_can_not_be_had_is_an_error() {
    // Whoever had that port just now is gone.
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let nobody = url(port);
    for args in [
        &["publish", "lobby", "x", "--url", &nobody][..],
        &["connect", &nobody],
    ] {
        let ran = run(args, "").await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(&port.to_string()), "{ran:?}");
    }
    for args in [
        &["publish", "lobby", "x", "--url", "wss://a.example"][..],
        &["connect", "wss://a.example"],
    ] {
        let ran = run(args, "").await;
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("TLS"), "{ran:?}");
    }
}

#[tokio::test]
async fn a_user_joins_says_hears_and_sees_who_is_there() {
    let program = Program::start(&[]).await;
    let mut ada = Terminal::joined(program.addr, &["--user", "ada"]).await;
    let mut bob = Terminal::joined(program.addr, &["--user", "bob"]).await;
    assert_eq!(ada.until("+ bob").await, "[lobby] + bob");
    ada.types("/who").await;
    let who = ada.until("here:").await;
    assert!(who.starts_with("[lobby] 2 here: "), "{who}");
    assert!(who.contains("ada") && who.contains("bob"), "{who}");
    ada.types("hello").await;
    assert_eq!(bob.until("hello").await, "[lobby] ada: hello");
    bob.types("//who").await;
    assert_eq!(ada.until("who").await, "[lobby] bob: /who");

    ada.types("/join garden").await;
    ada.until_noted("[garden] * you are in").await;
    ada.types("alone here").await;
    assert_eq!(ada.until("alone").await, "[garden] ada: alone here");
    ada.types("/rooms").await;
    assert_eq!(ada.until_noted("garden").await, "* garden");
    ada.types("/leave").await;
    ada.until_noted("[garden] * you have left").await;
    ada.types("/history 2").await;
    assert_eq!(ada.until("earlier").await, "[lobby] (earlier) ada: hello");
    assert_eq!(ada.until("earlier").await, "[lobby] (earlier) bob: /who");
    ada.types("/dance").await;
    ada.until_noted("there is no /dance").await;
    ada.types("/help").await;
    ada.until_noted("/history [N]").await;

    bob.types("/quit").await;
    assert_eq!(ada.until("- bob").await, "[lobby] - bob");
    assert_eq!(bob.end().await, Some(0));
    assert_eq!(ada.end().await, Some(0));
}

#[tokio::test]
async fn what_others_write_can_not_command_the_terminal() {
    let program = Program::start(&[]).await;
    let mut victim = Terminal::joined(program.addr, &[]).await;
    let mut program_reader = Terminal::start(program.addr, &["--json"]);
    program_reader.event("subscribed").await;
    let attack = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\rfake: end";
    let mut peer = Peer::connect(program.addr, "/ws/lobby").await;
    peer.send(attack).await;
    let line = victim.until("end").await;
    assert!(!line.contains(char::is_control), "{line:?}");
    assert!(!line.contains('\u{202e}'), "{line:?}");
    assert!(line.contains("\\u{1b}]0;owned\\u{7}"), "{line}");
    // For programs it is escaped too, and the same text.
    let raw = program_reader.until("fake").await;
    assert!(!raw.contains(char::is_control), "{raw:?}");
    let event: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(event["data"], attack);
}

#[tokio::test]
async fn a_program_gets_an_object_a_line() {
    let program = Program::start(&[]).await;
    let mut terminal = Terminal::start(program.addr, &["--json", "--user", "ada"]);
    let connected = terminal.event("connected").await;
    assert_eq!(connected["server"], url(program.addr));
    assert_eq!(terminal.event("subscribed").await["room"], "lobby");
    let join = terminal.event("join").await;
    assert_eq!(
        join["info"],
        json!({"user": "ada", "client": connected["client"]})
    );
    terminal.types("hi").await;
    let message = terminal.event("message").await;
    let wanted = json!({
        "event": "message", "room": "lobby", "data": "hi", "info": join["info"], "offset": 1,
    });
    assert_eq!(message, wanted);
    terminal.types("/who").await;
    assert_eq!(
        terminal.event("presence").await["clients"],
        json!([join["info"]])
    );
    terminal.types("/join dialog#42").await;
    let refused = terminal.event("refused").await;
    assert_eq!(
        (&refused["room"], &refused["code"]),
        (&json!("dialog#42"), &json!(103))
    );
    assert_eq!(terminal.end().await, Some(1), "something was refused");
}

#[tokio::test]
async fn the_end_of_input_is_the_end_unless_it_follows() {
    let program = Program::start(&[]).await;
    let mut peer = Peer::connect(program.addr, "/ws/lobby").await;
    let url = url(program.addr);
    let ran = run(&["connect", &url], "one\ntwo\n").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(peer.next_text().await, "one");
    assert_eq!(peer.next_text().await, "two");
    let mut follower = Terminal::joined(program.addr, &["--follow"]).await;
    follower.stdin = None;
    for text in ["three", "four"] {
        peer.send(text).await;
        follower.until(text).await;
    }
}

#[tokio::test]
async fn a_server_that_wants_no_more_is_not_asked_again() {
    let program = Program::start(&[]).await;
    let ran = run(&["connect", &url(program.addr), "--token", "x"], "").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("3500"), "{ran:?}");
    assert!(!ran.stderr.contains("trying again"), "{ran:?}");
}

#[tokio::test]
async fn pings_are_answered() {
    let settings = ["timeouts.ping=200ms", "timeouts.pong=100ms"];
    let program = Program::start(&settings).await;
    let mut terminal = Terminal::joined(program.addr, &[]).await;
    let mut peer = Peer::connect(program.addr, "/ws/lobby").await;
    for _ in 0..8 {
        // It is pinged as often.
        loop {
            let message = soon("a ping", peer.stream.next()).await;
            if matches!(message.unwrap().unwrap(), Message::Ping(_)) {
                break;
            }
        }
    }
    terminal.types("still here").await;
    assert_eq!(peer.next_text().await, "still here");
    assert_eq!(program.status().await["closed"]["no_pong"], 0);
}

/// Stands between a client and the server, and can fail.
struct Cable {
    addr: SocketAddr,
    is_up: watch::Sender<bool>,
    _carrying: JoinHandle<()>,
}

impl Cable {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (is_up, state) = watch::channel(true);
        let carrying = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut state = state.clone();
                if !*state.borrow() {
                    continue;
                }
                let mut far = TcpStream::connect(server).await.unwrap();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|is_up| !is_up) => {}
                    }
                });
            }
        });
        Self {
            addr,
            is_up,
            _carrying: carrying,
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_comes_back_with_what_was_missed() {
    let program = Program::start(&["room_defaults.history_size=3"]).await;
    let cable = Cable::to(program.addr).await;
    let mut terminal = Terminal::joined(cable.addr, &["--user", "ada"]).await;
    let mut peer = Peer::connect(program.addr, "/ws/lobby").await;
    peer.send("before").await;
    terminal.until("before").await;

    cable.is_up.send(false).unwrap();
    terminal.until_noted("trying again").await;
    for text in ["one", "two"] {
        peer.send(text).await;
    }
    while peer.next_text().await != "two" {}
    cable.is_up.send(true).unwrap();
    terminal.until_noted("missed nothing").await;
    assert!(terminal.until("lobby] (").await.ends_with(": one"));
    assert!(terminal.until("lobby] (").await.ends_with(": two"));

    cable.is_up.send(false).unwrap();
    terminal.until_noted("trying again").await;
    // Typed into a pipe, it waits.
    terminal.types("when I am back").await;
    for text in ["a", "b", "c", "d"] {
        peer.send(text).await;
    }
    while peer.next_text().await != "d" {}
    cable.is_up.send(true).unwrap();
    terminal.until_noted("can't be had any more").await;
    assert_eq!(peer.next_text().await, "when I am back");
    let next = terminal.until("lobby] ").await;
    assert!(
        next.contains("+ ada") || next.contains("when"),
        "nothing twice: {next}"
    );
    peer.send("after").await;
    terminal.until("after").await;
    assert_eq!(terminal.end().await, Some(0));
}
