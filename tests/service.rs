//! Under a service manager: what it is told and when, and the socket that it hands over.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use slabcast::{
    config::{Config, RoomConfig},
    fanout::{
        Admission, CatchUp, Fanout, HistoryPage, HistoryQuery, HistoryRefusal, Newcomer, Pace,
        Receipt, Retired, RoomSetup, RoomStatus, Vacancy,
    },
    id::{ClientId, RoomName},
    node::Node,
    publication::{ClientInfo, Publication},
};
use support::{LOG_FILTER, Program, Response, soon};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::UnixDatagram, process::Command};

/// What comes first in a shell whose standard input is the socket that is to be handed over. The
/// process keeps its number when it becomes the program.
const HAND_OVER: &str = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1";

/// Where a service manager listens.
struct Manager {
    _directory: TempDir,
    path: PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self {
            _directory: directory,
            path,
            socket,
        }
    }

    fn variable(&self) -> String {
        format!("NOTIFY_SOCKET='{}'", self.path.display())
    }

    /// The next thing that it is told.
    async fn told(&self) -> String {
        let mut message = [0; 4096];
        let length = soon("a word to the manager", self.socket.recv(&mut message));
        let length = length.await.unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// What it has been told and has not looked at.
    fn has_heard(&self) -> Option<String> {
        let mut message = [0; 4096];
        let length = self.socket.try_recv(&mut message).ok()?;
        Some(String::from_utf8(message[..length].to_vec()).unwrap())
    }
}

/// A program whose standard input is `socket`, begun by `before`.
fn with_socket(before: &str, socket: impl Into<OwnedFd>) -> Command {
    let mut shell = Program::in_shell(before);
    shell.stdin(Stdio::from(socket.into()));
    shell
}

fn loopback() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

async fn ask_health(stream: &mut tokio::net::TcpStream) {
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
}

async fn is_healthy(addr: SocketAddr) {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    ask_health(&mut stream).await;
    assert_eq!(Response::read(&mut stream).await.status, 200);
}

/// The exit code, and what is said on standard error, of a program that can't serve.
async fn refused(mut command: Command) -> (Option<i32>, String) {
    command.args(["--log", "error"]).env_clear();
    let output = soon("its end", command.kill_on_drop(true).output());
    let output = output.await.unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn the_manager_is_told_of_readiness_once_it_listens_and_of_a_drain_when_it_begins() {
    let manager = Manager::new();
    let shell = Program::in_shell(&manager.variable());
    let mut program = Program::start_by(shell, LOG_FILTER, &[], &[]).await;
    let ready = manager.told().await;
    let mut lines = ready.lines();
    assert_eq!(lines.next(), Some("READY=1"));
    let status = format!("STATUS=listens on http://{}/", program.addr);
    assert_eq!(lines.next(), Some(&*status));
    is_healthy(program.addr).await;
    // Without WATCHDOG_USEC nobody wants signs of life.
    assert_eq!(manager.has_heard(), None);
    program.signal("TERM");
    assert_eq!(manager.told().await.trim_end(), "STOPPING=1");
    assert_eq!(program.exit_code().await, Some(0));
    assert_eq!(manager.has_heard(), None);
}

#[tokio::test]
async fn exec_tells_the_manager_the_same() {
    let manager = Manager::new();
    let mut shell = Program::in_shell(&manager.variable());
    shell.args(["exec", "--room", "build"]);
    let mut program = Program::start_by(shell, LOG_FILTER, &[], &["--", "sleep", "60"]).await;
    assert!(manager.told().await.starts_with("READY=1\n"));
    program.signal("TERM");
    assert_eq!(manager.told().await.trim_end(), "STOPPING=1");
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_watchdog_is_fed_twice_in_its_time() {
    const PATIENCE: Duration = Duration::from_secs(2);
    let manager = Manager::new();
    let variables = format!(
        "WATCHDOG_USEC={} WATCHDOG_PID=$$ {}",
        PATIENCE.as_micros(),
        manager.variable()
    );
    let program = Program::start_by(Program::in_shell(&variables), LOG_FILTER, &[], &[]).await;
    assert!(manager.told().await.starts_with("READY=1\n"));
    assert_eq!(manager.told().await.trim_end(), "WATCHDOG=1");
    for _ in 0..2 {
        let before = Instant::now();
        assert_eq!(manager.told().await.trim_end(), "WATCHDOG=1");
        // Half of it, less and more what a busy machine makes of that.
        let (least, most) = (PATIENCE / 4, PATIENCE * 7 / 8);
        let gap = before.elapsed();
        assert!((least..most).contains(&gap), "{gap:?}");
    }
    drop(program);
}

/// A room that says which it is when it is looked at.
#[derive(Debug)]
struct Looked(u64);

static LOOKS: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static OPENED: AtomicU64 = AtomicU64::new(0);

impl Fanout for Looked {
    const NAME: &'static str = "looked";

    fn open(_: RoomSetup) -> Arc<Self> {
        Arc::new(Self(OPENED.fetch_add(1, Ordering::Relaxed)))
    }

    async fn publish(&self, _: &mut Vec<Publication>, _: Pace) -> Result<Receipt, Retired> {
        Err(Retired)
    }

    async fn subscribe(
        self: &Arc<Self>,
        _: Newcomer,
        _: CatchUp,
    ) -> Result<Admission<Self>, Retired> {
        Err(Retired)
    }

    fn leave(&self, _: ClientId) {}

    async fn presence(&self) -> Vec<Arc<ClientInfo>> {
        Vec::new()
    }

    async fn history(&self, _: HistoryQuery) -> Result<HistoryPage, HistoryRefusal> {
        Err(HistoryRefusal::Off)
    }

    async fn status(&self) -> RoomStatus {
        LOOKS.lock().unwrap().push(self.0);
        RoomStatus::default()
    }

    async fn tidy(&self, _: Instant) {}

    fn retire_if_vacant(&self, _: Instant) -> Vacancy {
        Vacancy::Occupied
    }
}

#[tokio::test]
async fn a_watchdog_passes_every_room_in_its_turn_and_a_few_at_a_time() {
    const ROOMS: usize = 200;
    let node = Node::<Looked>::new(Config::default()).unwrap();
    assert_eq!(node.pulse(0).await, 0);
    for index in 0..ROOMS {
        let name = RoomName::parse(&format!("room{index}")).unwrap();
        node.keep_room(&name, &RoomConfig::default());
    }
    let mut beat = 0;
    for round in 1..=3 {
        loop {
            let before = LOOKS.lock().unwrap().len();
            beat = node.pulse(beat).await;
            let looks = LOOKS.lock().unwrap().len() - before;
            assert!((1..=64).contains(&looks), "{looks}");
            if beat == 0 {
                break;
            }
        }
        let mut looks = LOOKS.lock().unwrap().clone();
        assert_eq!(looks.len(), round * ROOMS, "each once in a round");
        looks.sort_unstable();
        looks.dedup();
        assert_eq!(looks.len(), ROOMS, "and every one");
    }
    // Some have gone since.
    assert_eq!(node.pulse(1_000).await, 64);
}

#[tokio::test]
async fn a_watchdog_of_another_process_is_not_fed() {
    let manager = Manager::new();
    let variables = format!("WATCHDOG_USEC=2000 WATCHDOG_PID=1 {}", manager.variable());
    let mut program = Program::start_by(Program::in_shell(&variables), LOG_FILTER, &[], &[]).await;
    assert!(manager.told().await.starts_with("READY=1\n"));
    program.signal("TERM");
    assert_eq!(manager.told().await.trim_end(), "STOPPING=1");
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_socket_that_is_handed_over_is_served_in_place_of_listen() {
    let (listener, addr) = loopback();
    // What is configured doesn't count, and so it need not be allowed either.
    let before = format!("{HAND_OVER} SLABCAST_LISTEN=0.0.0.0:8080");
    let mut program = Program::start_by(with_socket(&before, listener), LOG_FILTER, &[], &[]).await;
    assert_eq!(program.addr, addr);
    is_healthy(addr).await;
    // It is not put aside for somebody else, but closed with the server.
    program.signal("TERM");
    assert_eq!(program.exit_code().await, Some(0));
    let late = tokio::net::TcpStream::connect(addr).await;
    assert_eq!(
        late.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
}

#[tokio::test]
async fn nobody_is_refused_while_the_server_is_replaced() {
    let (listener, addr) = loopback();
    let copy = listener.try_clone().unwrap();
    let mut program = Program::start_by(with_socket(HAND_OVER, copy), LOG_FILTER, &[], &[]).await;
    is_healthy(addr).await;
    program.signal("TERM");
    assert_eq!(program.exit_code().await, Some(0));
    // Nobody serves now, and the socket listens on.
    let mut waiting = tokio::net::TcpStream::connect(addr).await.unwrap();
    ask_health(&mut waiting).await;
    let successor = Program::start_by(with_socket(HAND_OVER, listener), LOG_FILTER, &[], &[]).await;
    assert_eq!(successor.addr, addr);
    assert_eq!(Response::read(&mut waiting).await.status, 200);
}

#[tokio::test]
async fn a_socket_beyond_loopback_wants_tokens_as_listen_does() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let copy = listener.try_clone().unwrap();
    let (code, said) = refused(with_socket(HAND_OVER, copy)).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("would let the whole network in"), "{said}");
    let before = format!("{HAND_OVER} SLABCAST_ANONYMOUS=true");
    let shell = with_socket(&before, listener);
    let program = Program::start_by(shell, LOG_FILTER, &[], &[]).await;
    assert!(program.addr.ip().is_unspecified());
}

#[tokio::test]
async fn a_socket_for_another_process_is_left_alone() {
    let (listener, addr) = loopback();
    let before = "exec 3<&0 0</dev/null; LISTEN_PID=1 LISTEN_FDS=1";
    let program = Program::start_by(with_socket(before, listener), LOG_FILTER, &[], &[]).await;
    assert_ne!(program.addr, addr);
    is_healthy(program.addr).await;
}

#[tokio::test]
async fn what_a_server_can_not_listen_on_is_refused_with_a_word_on_what_to_do() {
    let (listener, addr) = loopback();
    let connected = TcpStream::connect(addr).unwrap();
    let (code, said) = refused(with_socket(HAND_OVER, connected)).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("it does not listen"), "{said}");
    assert!(said.contains("ListenStream="), "{said}");

    let nothing = fs::File::open("/dev/null").unwrap();
    let (code, said) = refused(with_socket(HAND_OVER, nothing)).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("LISTEN_FDS"), "{said}");

    let two = "exec 3<&0 4<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=2";
    let (code, said) = refused(with_socket(two, listener)).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("2 sockets"), "{said}");
}

#[tokio::test]
async fn the_command_of_exec_gets_neither_the_socket_nor_a_word_of_it() {
    let (listener, addr) = loopback();
    let link = format!("/proc/self/fd/{}", listener.as_raw_fd());
    let inode = fs::read_link(link).unwrap().display().to_string();
    let copy = listener.try_clone().unwrap();
    let mut shell = with_socket(HAND_OVER, copy);
    shell.args(["exec", "--room", "build"]);
    let script = "env; ls -l /proc/self/fd/; echo over";
    let program = Program::start_by(shell, LOG_FILTER, &[], &["--", "sh", "-c", script]).await;
    assert_eq!(program.addr, addr);
    let mut watcher = support::Peer::connect(addr, "/ws/build?since=start").await;
    let mut lines = Vec::new();
    while !lines
        .last()
        .is_some_and(|line: &String| line.contains("over"))
    {
        lines.push(watcher.next_text().await);
    }
    let said = lines.join("\n");
    assert!(
        said.contains("/proc/") && inode.starts_with("socket:"),
        "{said}"
    );
    assert!(!said.contains(&inode), "{inode} in {said}");
    assert!(!said.contains("LISTEN_"), "{said}");
}
