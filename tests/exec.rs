//! A command whose output is a room: everything that it writes, in order, its end the last, and
//! nothing of it left when the server is gone.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use support::{PATIENCE, Peer, Program, soon, upgrade_request};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_tungstenite::tungstenite::Message;

const LINE_BYTES_MAX: usize = 16 * 1024;

/// Holds a command back until the watchers are there.
struct Gate {
    _directory: TempDir,
    path: PathBuf,
}

impl Gate {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gate");
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        Self {
            _directory: directory,
            path,
        }
    }

    /// A script that waits here first.
    fn before(&self, script: &str) -> String {
        format!("cat '{}' && {script}", self.path.display())
    }

    /// Lets the command go on.
    async fn open(&self) {
        let path = self.path.clone();
        let opened = tokio::task::spawn_blocking(move || fs::write(path, "").unwrap());
        soon("the command's coming to the gate", opened)
            .await
            .unwrap();
    }
}

async fn watch(program: &Program, since: &str) -> Peer {
    Peer::connect(program.addr, &format!("/ws/build{since}")).await
}

/// How many watch.
async fn watchers(program: &Program) -> u64 {
    let status = program.status().await;
    let rooms = status["rooms"].as_array().unwrap();
    let room = rooms.iter().find(|room| room["name"] == "build");
    room.map_or(0, |room| room["clients"].as_u64().unwrap())
}

/// A watcher that is in the room when this returns.
async fn watch_from_now(program: &Program) -> Peer {
    let before = watchers(program).await;
    let peer = watch(program, "").await;
    soon("a place in the room", async {
        while watchers(program).await == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    peer
}

async fn next(peer: &mut Peer) -> Value {
    serde_json::from_str(&peer.next_text().await).unwrap()
}

/// Every message up to the end, which is the last.
async fn everything(peer: &mut Peer) -> Vec<Value> {
    let mut messages = Vec::new();
    loop {
        let message = next(peer).await;
        let is_end = message["exit"].is_object();
        messages.push(message);
        if is_end {
            return messages;
        }
    }
}

async fn from_the_start(program: &Program) -> Vec<Value> {
    everything(&mut watch(program, "?since=start").await).await
}

/// What was written to `stream`, a line each.
fn lines<'a>(messages: &'a [Value], stream: &str) -> Vec<&'a str> {
    let of_stream = messages
        .iter()
        .filter(|message| message["stream"] == stream);
    of_stream
        .map(|message| message["line"].as_str().unwrap())
        .collect()
}

/// Whether it runs: who has ended and waits to be reaped does not.
fn is_there(pid: &str) -> bool {
    let ps = Command::new("ps").args(["-o", "stat=", "-p", pid]).output();
    let state = String::from_utf8(ps.unwrap().stdout).unwrap();
    !state.is_empty() && !state.starts_with('Z')
}

/// Waits until none of these processes is there.
async fn gone(pids: &[String]) {
    soon("the end of the command's processes", async {
        while pids.iter().any(|pid| is_there(pid)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The numbers in a line that the command wrote.
fn pids(message: &Value) -> Vec<String> {
    let line = message["line"].as_str().unwrap();
    line.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn each_line_is_a_message_and_the_exit_code_the_last() {
    let script = "echo out; echo err >&2; echo; printf 'the \"last\"'; exit 3";
    let program = Program::exec(&[], &["sh", "-c", script]).await;
    let messages = from_the_start(&program).await;
    assert_eq!(lines(&messages, "stdout"), ["out", "", "the \"last\""]);
    assert_eq!(lines(&messages, "stderr"), ["err"]);
    let last = messages.last().unwrap();
    assert_eq!(*last, json!({"n": 5, "exit": {"code": 3}}));
    let numbers: Vec<_> = messages.iter().map(|message| &message["n"]).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

async fn whoever_watches_gets_the_same(engine: &str) {
    let gate = Gate::new();
    let script = gate.before("seq 1 5000; seq 1 100 >&2");
    let program = Program::exec(&["--engine", engine], &["sh", "-c", &script]).await;
    let mut ada = watch_from_now(&program).await;
    let mut bob = watch_from_now(&program).await;
    gate.open().await;
    let heard = everything(&mut ada).await;
    assert_eq!(heard.len(), 5101);
    assert_eq!(heard, everything(&mut bob).await);
    let mut numbers = lines(&heard, "stdout");
    assert_eq!(numbers.len(), 5000);
    numbers.extend(lines(&heard, "stderr"));
    let wanted: Vec<_> = (1..=5000).chain(1..=100).map(|n| n.to_string()).collect();
    assert_eq!(numbers, wanted);
    // Long after the end, the server still tells; but only who asks.
    assert_eq!(heard, from_the_start(&program).await);
    let mut late = watch(&program, "").await;
    // What is in the room is the command's, and whoever else says something there is sent away.
    late.send("here").await;
    match late.next().await {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1008, "{frame:?}"),
        other => panic!("instead of a close frame: {other:?}"),
    }
}

#[tokio::test]
async fn whoever_watches_gets_the_same_on_the_lock_engine() {
    whoever_watches_gets_the_same("lock").await;
}

#[tokio::test]
async fn whoever_watches_gets_the_same_on_the_hub_engine() {
    whoever_watches_gets_the_same("hub").await;
}

#[tokio::test]
async fn an_sdk_hears_json_from_nobody() {
    let gate = Gate::new();
    let script = gate.before("echo hello");
    let program = Program::exec(&[], &["sh", "-c", &script]).await;
    let mut peer = Peer::connect(program.addr, "/connection/websocket").await;
    peer.ask(json!({"id": 1, "connect": {}})).await;
    peer.ask(json!({"id": 2, "subscribe": {"channel": "build"}}))
        .await;
    gate.open().await;
    let push = peer.next_json().await;
    let data = json!({"n": 1, "stream": "stdout", "line": "hello"});
    assert_eq!(push["push"]["pub"], json!({"data": data, "offset": 1}));
}

#[tokio::test]
async fn fast_output_arrives_whole_while_somebody_reads_nothing() {
    const COUNT: usize = 100_000;
    let gate = Gate::new();
    let script = gate.before(&format!("seq 1 {COUNT}"));
    let program = Program::exec(&[], &["sh", "-c", &script]).await;
    let mut reader = watch_from_now(&program).await;
    let mut stalled = TcpStream::connect(program.addr).await.unwrap();
    let request = upgrade_request("/ws/build", program.addr);
    stalled.write_all(request.as_bytes()).await.unwrap();
    soon("the stalled one's coming", async {
        while program.status().await["rooms"][0]["clients"] != 2 {}
    })
    .await;
    gate.open().await;
    for n in 1..=COUNT {
        let message = next(&mut reader).await;
        assert_eq!(message["line"], n.to_string());
        assert_eq!(message["n"], n);
    }
    assert_eq!(next(&mut reader).await["exit"], json!({"code": 0}));
    assert_eq!(from_the_start(&program).await.len(), COUNT + 1);
    drop(stalled);
}

#[tokio::test]
async fn any_bytes_can_be_put_together_again() {
    let directory = tempfile::tempdir().unwrap();
    let blob: Vec<u8> = noise().take(200_000).collect();
    let path = directory.path().join("blob");
    fs::write(&path, &blob).unwrap();
    let program = Program::exec(&[], &["cat", path.to_str().unwrap()]).await;
    let mut joined = Vec::new();
    let messages = from_the_start(&program).await;
    let (exit, pieces) = messages.split_last().unwrap();
    for piece in pieces {
        match piece["b64"].as_str() {
            Some(b64) => joined.extend(data_encoding::BASE64.decode(b64.as_bytes()).unwrap()),
            None => joined.extend(piece["line"].as_str().unwrap().as_bytes()),
        }
        if piece["more"] != true {
            joined.push(b'\n');
        }
    }
    joined.truncate(blob.len());
    assert!(joined == blob);
    assert_eq!(exit["exit"], json!({"code": 0}));
}

/// Bytes without a pattern, the same in each run.
fn noise() -> impl Iterator<Item = u8> {
    let next = |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    std::iter::successors(Some(1), next).map(|x: u64| (x >> 56) as u8)
}

#[tokio::test]
async fn a_very_long_line_comes_in_pieces() {
    let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo short";
    let program = Program::exec(&[], &["sh", "-c", script]).await;
    let messages = from_the_start(&program).await;
    let pieces: Vec<_> = messages
        .iter()
        .filter_map(|message| Some((message["line"].as_str()?.len(), message["more"] == true)))
        .collect();
    let rest = 40_000 - 2 * LINE_BYTES_MAX;
    let wanted = [
        (LINE_BYTES_MAX, true),
        (LINE_BYTES_MAX, true),
        (rest, false),
        (5, false),
    ];
    assert_eq!(pieces, wanted);
}

#[tokio::test]
async fn no_shell_stands_in_between_and_nothing_can_be_typed() {
    let directory = tempfile::tempdir().unwrap();
    let touched = directory.path().join("touched");
    let argument = format!("$(touch {}); *", touched.display());
    let program = Program::exec(&[], &["printf", "%s\n", &argument]).await;
    let messages = from_the_start(&program).await;
    assert_eq!(lines(&messages, "stdout"), [argument]);
    assert!(!touched.exists());
    let program = Program::exec(&[], &["cat"]).await;
    let end = from_the_start(&program).await;
    assert_eq!(end, [json!({"n": 1, "exit": {"code": 0}})]);
}

#[tokio::test]
async fn the_signal_that_ended_it_is_named() {
    let program = Program::exec(&[], &["sh", "-c", "kill -KILL $$"]).await;
    let end = from_the_start(&program).await;
    assert_eq!(end, [json!({"n": 1, "exit": {"signal": "SIGKILL"}})]);
}

#[tokio::test]
async fn what_is_no_longer_kept_shows_in_the_numbers() {
    let options = ["--set", "room_defaults.history_size=3"];
    let program = Program::exec(&options, &["seq", "1", "10"]).await;
    let mut peer = watch(&program, "?since=start").await;
    everything(&mut peer).await;
    let kept = from_the_start(&program).await;
    let numbers: Vec<_> = kept.iter().map(|message| &message["n"]).collect();
    assert_eq!(numbers, [9, 10, 11]);
}

#[tokio::test]
async fn a_child_that_keeps_the_pipes_open_can_not_hold_the_end_up() {
    let script = "sleep 1000 & echo $!; printf 'half a line'";
    let mut program = Program::exec(&[], &["sh", "-c", script]).await;
    let messages = from_the_start(&program).await;
    assert_eq!(messages[1]["line"], "half a line");
    let end = json!({"n": 3, "exit": {"code": 0}, "cut": true});
    assert_eq!(messages[2], end);
    let left = pids(&messages[0]);
    assert!(is_there(&left[0]), "it is left alone until the end");
    program.signal("TERM");
    assert_eq!(program.exit_code().await, Some(0));
    assert!(!is_there(&left[0]), "and no longer");
}

#[tokio::test]
async fn a_child_that_never_stops_writing_can_not_hold_the_end_up_either() {
    let program = Program::exec(&[], &["sh", "-c", "yes & exit 4"]).await;
    let mut peer = watch(&program, "?since=start").await;
    let end = soon("the end", async {
        loop {
            let message = next(&mut peer).await;
            if message["exit"].is_object() {
                return message;
            }
        }
    })
    .await;
    assert_eq!(
        (&end["exit"]["code"], &end["cut"]),
        (&json!(4), &json!(true))
    );
}

#[tokio::test]
async fn sigterm_ends_the_command_politely_and_its_last_words_are_heard() {
    let script = "trap 'echo bye; exit 5' TERM; echo $$ $PPID; while :; do sleep 0.02; done";
    let mut program = Program::exec(&[], &["sh", "-c", script]).await;
    let mut peer = watch(&program, "?since=start").await;
    let processes = pids(&next(&mut peer).await);
    program.signal("TERM");
    let last_words = everything(&mut peer).await;
    assert_eq!(lines(&last_words, "stdout"), ["bye"]);
    assert_eq!(last_words.last().unwrap()["exit"], json!({"code": 5}));
    assert_eq!(peer.close_code().await, 1001);
    drop(peer);
    assert_eq!(program.exit_code().await, Some(0));
    assert!(processes.iter().all(|pid| !is_there(pid)));
}

/// A command that won't be ended politely, and neither will its child.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo $$ $! $PPID; wait; sleep 1000";

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed_after_its_grace() {
    let options = ["--grace", "300ms"];
    let mut program = Program::exec(&options, &["sh", "-c", STUBBORN]).await;
    let mut peer = watch(&program, "?since=start").await;
    let processes = pids(&next(&mut peer).await);
    let begin = std::time::Instant::now();
    program.signal("INT");
    let end = next(&mut peer).await;
    assert_eq!(end["exit"], json!({"signal": "SIGKILL"}));
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "it had its grace"
    );
    assert_eq!(peer.close_code().await, 1001);
    drop(peer);
    assert_eq!(program.exit_code().await, Some(0));
    assert!(processes.iter().all(|pid| !is_there(pid)));
}

#[tokio::test]
async fn the_command_dies_with_a_server_that_is_killed() {
    let options = ["--grace", "100ms"];
    let mut program = Program::exec(&options, &["sh", "-c", STUBBORN]).await;
    let mut peer = watch(&program, "?since=start").await;
    let processes = pids(&next(&mut peer).await);
    assert!(processes.iter().all(|pid| is_there(pid)));
    program.signal("KILL");
    program.exit_code().await;
    gone(&processes).await;
}

#[tokio::test]
async fn the_command_dies_with_its_guard() {
    let program = Program::exec(&[], &["sh", "-c", STUBBORN]).await;
    let mut peer = watch(&program, "?since=start").await;
    let processes = pids(&next(&mut peer).await);
    let killed = Command::new("kill").args(["-KILL", &processes[2]]).status();
    assert!(killed.unwrap().success());
    let end = next(&mut peer).await;
    assert!(end["exit"]["error"].is_string(), "{end}");
    gone(&processes).await;
    assert_eq!(program.status().await["connections"], 1, "it still serves");
}

#[tokio::test]
async fn the_server_can_end_as_the_command_did() {
    let gate = Gate::new();
    for (script, code) in [("exit 7", 7), ("kill -TERM $$", 143)] {
        let script = gate.before(script);
        let mut program = Program::exec(&["--exit-with-command"], &["sh", "-c", &script]).await;
        let mut peer = watch_from_now(&program).await;
        gate.open().await;
        assert!(next(&mut peer).await["exit"].is_object());
        assert_eq!(peer.close_code().await, 1001, "it drains first");
        drop(peer);
        assert_eq!(program.exit_code().await, Some(code));
    }
}

/// Runs `slabcast exec` to its end.
async fn refused(argv: &[&str]) -> (Option<i32>, String, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_slabcast"))
        .args(["exec", "--room", "build", "--listen", "127.0.0.1:0", "--"])
        .args(argv)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .unwrap()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn a_command_that_can_not_be_run_is_said_so_before_anything_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("not-a-program");
    fs::write(&file, "text").unwrap();
    let file = file.to_str().unwrap();
    for (program, code, why) in [
        ("no-such-program", 127, "No such file"),
        (file, 126, "Permission denied"),
    ] {
        let (exit, stdout, stderr) = refused(&[program]).await;
        assert_eq!(exit, Some(code), "{stderr}");
        assert_eq!(stdout, "");
        assert!(stderr.contains(program) && stderr.contains(why), "{stderr}");
    }
    let (exit, _, stderr) = refused(&[]).await;
    assert_eq!(exit, Some(2));
    assert!(stderr.contains("COMMAND"), "{stderr}");
}

#[tokio::test]
async fn the_command_does_not_get_the_servers_settings() {
    let mut slabcast = tokio::process::Command::new(env!("CARGO_BIN_EXE_slabcast"));
    slabcast
        .args(["exec", "--room", "build", "--listen", "127.0.0.1:0"])
        .args(["--exit-with-command", "--", "sh", "-c"])
        .arg("test -n \"$THEIRS\" && test -z \"$SLABCAST_LIMITS_ROOMS\"")
        .env_clear()
        .env("THEIRS", "1")
        .env("SLABCAST_LIMITS_ROOMS", "5")
        .kill_on_drop(true);
    let output = soon("its end", slabcast.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
