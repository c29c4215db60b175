//! Where the program writes and can't: a full disk, a pipe that nobody reads, one that nobody has.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Read as _},
    net::SocketAddr,
    process::{Command, Output, Stdio},
    time::Duration,
};

use futures_util::future::join_all;
use support::{
    Peer, Program, TestServer,
    books::{NO_HISTORY, raise_descriptor_limit, signal},
    config, soon,
};

/// Takes nothing: each write fails as it does on a full disk.
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe, with a reader that is kept by whoever reads nothing.
fn pipe() -> (PipeReader, PipeWriter) {
    io::pipe().unwrap()
}

/// More than a pipe holds, at a few hundred bytes for each that comes and goes.
const VISITORS: usize = 500;

/// Has visitors come and go, each of which is logged, and a member who hears himself throughout.
async fn serves_while_it_logs(mut program: Program) {
    let idle = program.idle();
    let mut member = Peer::connect(program.addr, "/ws/lobby").await;
    for n in 0..VISITORS {
        let visitor = Peer::connect(program.addr, "/ws/garden").await;
        let text = format!("message {n}");
        member.send(text.as_str()).await;
        assert_eq!(member.next_text().await, text);
        drop(visitor);
    }
    drop(member);
    program.settled(idle, 0, 0).await;
    program.signal("TERM");
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_log_on_a_full_disk_stops_nobody() {
    raise_descriptor_limit();
    let program = Program::start_logging("debug", full(), &[NO_HISTORY]).await;
    serves_while_it_logs(program).await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nobody() {
    raise_descriptor_limit();
    let (reader, writer) = pipe();
    let program = Program::start_logging("debug", writer, &[NO_HISTORY]).await;
    serves_while_it_logs(program).await;
    // It has been full, and what is in it is the log.
    let mut log = Vec::new();
    let mut reader = reader;
    reader.read_to_end(&mut log).unwrap();
    assert!(log.len() > 60_000, "{} bytes fill no pipe", log.len());
}

#[tokio::test]
async fn a_log_whose_reader_is_gone_stops_nobody() {
    raise_descriptor_limit();
    let (reader, writer) = pipe();
    let program = Program::start_logging("debug", writer, &[NO_HISTORY]).await;
    drop(reader);
    serves_while_it_logs(program).await;
}

#[tokio::test]
async fn a_log_that_is_read_has_a_line_for_each_end() {
    let (mut reader, writer) = pipe();
    let mut program = Program::start_logging("debug", writer, &[NO_HISTORY]).await;
    let reading = tokio::task::spawn_blocking(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).map(|_| log)
    });
    for _ in 0..20 {
        drop(Peer::connect(program.addr, "/ws/lobby").await);
    }
    program
        .until("their going", |status| status["closed"]["peer_gone"] == 20)
        .await;
    program.signal("TERM");
    assert_eq!(program.exit_code().await, Some(0));
    let log = soon("the log's end", reading).await.unwrap().unwrap();
    let ends = log.lines().filter(|line| line.contains("session ended"));
    assert_eq!(ends.count(), 20, "{log}");
    assert!(log.lines().last().unwrap().contains("drained"), "{log}");
}

#[tokio::test]
async fn lines_that_are_read_and_lines_that_were_left_out_are_all_that_were_made() {
    // More than a pipe and the queue before it hold.
    const SESSIONS: usize = 3_500;
    raise_descriptor_limit();
    let (mut reader, writer) = pipe();
    let filter = "slabcast::session=debug,slabcast=error";
    let mut program = Program::start_logging(filter, writer, &[NO_HISTORY]).await;
    for _ in 0..SESSIONS / 50 {
        let visitors: Vec<_> = (0..50)
            .map(|_| Peer::connect(program.addr, "/ws/lobby"))
            .collect();
        drop(join_all(visitors).await);
    }
    program
        .until("their going", |status| {
            status["closed"]["peer_gone"] == SESSIONS
        })
        .await;
    program.signal("TERM");
    // Now, so that the program ends while the log is still full.
    let reading = tokio::task::spawn_blocking(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).map(|_| log)
    });
    assert_eq!(program.exit_code().await, Some(0));
    let log = soon("the log's end", reading).await.unwrap().unwrap();
    let (left_out, seen): (Vec<_>, Vec<_>) = log
        .lines()
        .partition(|line| line.contains("log lines were left out"));
    let numbers = left_out.iter().map(|line| {
        let (_, number) = line.rsplit_once("lines=").unwrap();
        number.parse::<usize>().unwrap()
    });
    let left_out: usize = numbers.sum();
    assert!(left_out > 0, "{} lines fill no log", seen.len());
    // One for its beginning, and one for its end.
    assert_eq!(seen.len() + left_out, 2 * SESSIONS);
}

/// Where a process listens, once it does.
fn address_of(pid: u32) -> Option<SocketAddr> {
    let inodes: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| {
            let target = fs::read_link(entry.ok()?.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            Some(inode.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        // Local address, state and inode; 0A is listening.
        let [local, state, inode] = [1, 3, 9].map(|n| *fields.get(n).unwrap_or(&""));
        let is_it = state == "0A" && inodes.iter().any(|it| it == inode);
        let port = local.split_once(':').filter(|_| is_it)?.1;
        let port = u16::from_str_radix(port, 16).unwrap();
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    })
}

#[tokio::test]
async fn a_standard_output_that_nobody_reads_stops_nobody() {
    let (reader, writer) = pipe();
    drop(reader);
    for stdout in [Stdio::from(writer), full().into()] {
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_slabcast"))
            .args(["--listen", "127.0.0.1:0", "--log", "error"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(stdout)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = child.id().expect("it runs");
        let addr = soon("listening", async {
            loop {
                match address_of(pid) {
                    Some(addr) => return addr,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        })
        .await;
        let mut member = Peer::connect(addr, "/ws/lobby").await;
        member.send("hello").await;
        assert_eq!(member.next_text().await, "hello");
        drop(member);
        signal(pid, "TERM");
        let status = soon("its end", child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

/// What the program does with its standard output there.
fn run(args: &[&str], stdout: impl Into<Stdio>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slabcast"))
        .args(args)
        .env_clear()
        .env(
            "SLABCAST_TOKENS_HMAC_SECRET",
            "a-secret-of-the-tests-32-bytes-or-more",
        )
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

async fn with_results(try_one: impl Fn(Vec<String>) + Send + 'static) {
    let server = TestServer::start(config(|_| ())).await;
    let url = format!("ws://{}/ws/{{room}}", server.addr);
    let bench = ["bench", &url, "--connections=4", "--duration=100ms"];
    let bench = [&bench[..], &["--warm-up=50ms"]].concat();
    let json = [&bench[..], &["--json"]].concat();
    let all: Vec<Vec<String>> = [
        &["config", "default"][..],
        &["config", "check"],
        &["token", "--user", "ada"],
        &bench,
        &json,
    ]
    .iter()
    .map(|args| args.iter().map(|arg| (*arg).to_owned()).collect())
    .collect();
    tokio::task::spawn_blocking(move || all.into_iter().for_each(try_one))
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_can_not_be_written_is_a_failure() {
    with_results(|args| {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let output = run(&args, full());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(
            stderr.contains("can't write to standard output") && stderr.contains("No space left"),
            "{args:?}: {stderr}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_read_enough_of_a_result_is_no_failure() {
    with_results(|args| {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let (reader, writer) = pipe();
        drop(reader);
        let output = run(&args, writer);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
    })
    .await;
}
