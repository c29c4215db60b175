//! The server under study: this same program as a process of its own, on a free port, ended by the
//! way out.

use std::{
    env, fmt,
    fs::File,
    io::{self, BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        atomic::{AtomicBool, AtomicI32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::signal::unix::{SignalKind, signal};

use super::engine::Engine;

/// A server that says nothing for so long will not say anything.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// Everybody has left by then, so there is nothing to wait for.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// How often to look whether it has ended.
const END_POLL: Duration = Duration::from_millis(2);

/// Nobody but the study is to be let in, and nothing is to be waited for at the end.
const FLAGS: [&str; 3] = [
    "--listen=127.0.0.1:0",
    "--log=warn",
    "--set=timeouts.drain_window=1ms",
];

/// What a server says first, before its address.
const GREETING: &str = "slabcast listens on http://";

/// The server that runs now, for whoever has to end the whole study; 0 while there is none.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// One is being started, whose number is not known yet.
static STARTING: AtomicBool = AtomicBool::new(false);

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// Open, so that the server has somewhere to write to.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts one; what it logs goes to `log`.
    pub(crate) fn start(engine: Engine, log: &File) -> Result<Self, ServerError> {
        STARTING.store(true, Ordering::SeqCst);
        let started = command(engine, log).and_then(|mut command| command.spawn());
        if let Ok(child) = &started {
            RUNNING.store(child.id().cast_signed(), Ordering::SeqCst);
        }
        STARTING.store(false, Ordering::SeqCst);
        let mut child = started.map_err(|source| ServerError::Start { engine, source })?;
        let stdout = child.stdout.take().map(BufReader::new);
        let stdout = stdout.expect("standard output is piped");
        match first_line(stdout) {
            Some((line, stdout)) if line.starts_with(GREETING) => Ok(Self {
                child,
                address: address(&line).to_owned(),
                _stdout: stdout,
            }),
            answer => {
                end(&mut child);
                let line = answer.map(|(line, _)| line).unwrap_or_default();
                Err(ServerError::Silent { engine, line })
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn command(engine: Engine, log: &File) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    // What is configured here for a server of the user's own has no business in the study.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("SLABCAST_") {
            command.env_remove(name);
        }
    }
    command
        .args(["serve", "--engine", engine.name()])
        .args(FLAGS)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?);
    Ok(command)
}

/// The first line, if it comes in time, and where the next one will come from.
fn first_line(mut stdout: BufReader<ChildStdout>) -> Option<(String, BufReader<ChildStdout>)> {
    let (answer, answered) = mpsc::channel();
    // Reading can't be given up, but whoever reads can be left behind: it ends with the server.
    thread::spawn(move || {
        let mut line = String::new();
        if stdout.read_line(&mut line).is_ok() {
            let _ = answer.send((line, stdout));
        }
    });
    answered.recv_timeout(START_DEADLINE).ok()
}

fn address(greeting: &str) -> &str {
    let rest = greeting.strip_prefix(GREETING).unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
}

/// Asks it to end, waits a while, and then does not ask any more.
fn end(child: &mut Child) {
    ask_to_end(child.id().cast_signed());
    let deadline = Instant::now() + END_DEADLINE;
    while let Ok(None) = child.try_wait() {
        if Instant::now() > deadline {
            // It may have ended just now; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
            break;
        }
        thread::sleep(END_POLL);
    }
    RUNNING.store(0, Ordering::Relaxed);
}

fn ask_to_end(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It is our child and was not waited for, so the number is still its own; if it has ended,
        // the signal finds nobody.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// A signal has come: the process is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Does not return once a signal has come. A study whose server was taken away by it has nothing to
/// report.
pub(crate) fn stand_aside() {
    while ENDING.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// Ends the server that runs, and sees that it is gone.
async fn end_running() {
    let deadline = Instant::now() + END_DEADLINE;
    while Instant::now() < deadline {
        let pid = Pid::from_raw(RUNNING.load(Ordering::SeqCst));
        match pid {
            None if !STARTING.load(Ordering::SeqCst) => return,
            None => {}
            Some(pid) => {
                // Again and again: a process that was only just forked may still have our own
                // handler, and would not notice the first one.
                let _ = kill_process(pid, Signal::TERM);
                // Reaped here, or by whoever waits for it in the study itself.
                if !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)) {
                    return;
                }
            }
        }
        tokio::time::sleep(END_POLL).await;
    }
    if let Some(pid) = Pid::from_raw(RUNNING.load(Ordering::SeqCst)) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// From now on SIGINT and SIGTERM end the server first, and then this process.
///
/// # Errors
/// The operating system's, if there can be no thread or no signals for it.
pub(crate) fn end_with_us() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before any server is started: until then a signal would end this process alone.
    let (mut interrupted, mut terminated) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let number = tokio::select! {
                    _ = interrupted.recv() => Signal::INT,
                    _ = terminated.recv() => Signal::TERM,
                };
                ENDING.store(true, Ordering::SeqCst);
                end_running().await;
                // As a shell reports a process that the signal ended.
                std::process::exit(128 + number.as_raw());
            });
        })?;
    Ok(())
}

/// Why there is no server to study.
#[derive(Debug)]
pub(crate) enum ServerError {
    Start { engine: Engine, source: io::Error },
    Silent { engine: Engine, line: String },
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { engine, source } => {
                write!(
                    out,
                    "the {} server can't be started: {source}",
                    engine.name()
                )
            }
            Self::Silent { engine, line } => write!(
                out,
                "the {} server said \"{}\" instead of where it listens (server.log beside the report \
                 has what it logged)",
                engine.name(),
                line.trim_end()
            ),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { source, .. } => Some(source),
            Self::Silent { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_greeting() {
        let line = "slabcast listens on http://127.0.0.1:40123/\n";
        assert_eq!(address(line), "127.0.0.1:40123");
        assert_eq!(address("something else"), "");
    }
}
