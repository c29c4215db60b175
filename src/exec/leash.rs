//! The server's end: starts the guard, hears what it reports, and lets the command go.

use std::{
    ffi::OsString,
    fmt, io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, ChildStderr, ChildStdout, Command},
};

use super::report::{Ended, Report};

/// Why a command does not run.
#[derive(Debug)]
pub(crate) enum StartError {
    /// It can't be started, through no fault of ours.
    Command {
        /// What was to be run.
        program: OsString,
        /// Why not.
        source: io::Error,
    },
    /// The guard can't be started, or died at once.
    Guard(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { program, source } => write!(f, "can't run {program:?}: {source}"),
            Self::Guard(source) => write!(f, "can't start the command's guard: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Command { source, .. } | Self::Guard(source) => Some(source),
        }
    }
}

/// A command that runs: what it writes, and what the guard reports.
#[derive(Debug)]
pub(crate) struct Running {
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
    pub(super) reports: Reports,
}

/// What the guard reports.
#[derive(Debug)]
pub(super) struct Reports {
    lines: Lines<BufReader<OwnedReadHalf>>,
    group: Option<Pid>,
}

/// What holds the command: when it is dropped, the command is ended.
#[derive(Debug)]
pub(crate) struct Leash {
    held: OwnedWriteHalf,
    guard: Child,
}

impl Leash {
    /// Has the command ended, and waits until that is done.
    pub(crate) async fn let_go(self) {
        let Self { held, mut guard } = self;
        drop(held);
        // The guard is our child, so the only thing that can go wrong is that it is gone.
        let _ = guard.wait().await;
    }
}

/// Starts the command.
///
/// # Errors
/// [`StartError`]; then nothing runs.
pub(crate) async fn start(
    argv: &[OsString],
    grace: Duration,
) -> Result<(Leash, Running), StartError> {
    let (mut guard, held, mut reports) = start_guard(argv, grace).map_err(StartError::Guard)?;
    let pipes = (guard.stdout.take(), guard.stderr.take());
    let (Some(stdout), Some(stderr)) = pipes else {
        return Err(StartError::Guard(io::ErrorKind::BrokenPipe.into()));
    };
    match reports.next().await {
        Some(Report::Started(pid)) => reports.group = Pid::from_raw(pid),
        Some(Report::Refused(errno)) => {
            return Err(StartError::Command {
                program: argv.first().cloned().unwrap_or_default(),
                source: io::Error::from_raw_os_error(errno),
            });
        }
        _ => return Err(StartError::Guard(io::ErrorKind::UnexpectedEof.into())),
    }
    let running = Running {
        stdout,
        stderr,
        reports,
    };
    Ok((Leash { held, guard }, running))
}

fn start_guard(argv: &[OsString], grace: Duration) -> io::Result<(Child, OwnedWriteHalf, Reports)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let guard = Command::new(std::env::current_exe()?)
        .arg("exec-guard")
        .args(["--grace-ms", &grace.as_millis().to_string(), "--"])
        .args(argv)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in the terminal is for the server, which knows what is to be done.
        .process_group(0)
        .spawn()?;
    let (read, held) = UnixStream::from_std(ours)?.into_split();
    let reports = Reports {
        lines: BufReader::new(read).lines(),
        group: None,
    };
    Ok((guard, held, reports))
}

impl Reports {
    /// The command's end. Nothing is lost when it is dropped before that.
    pub(super) async fn ended(&mut self) -> Ended {
        match self.next().await {
            Some(Report::Ended(how)) => how,
            _ => {
                // The guard was killed, and can't see to it any more.
                if let Some(group) = self.group {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                Ended::Unknown
            }
        }
    }

    async fn next(&mut self) -> Option<Report> {
        let line = self.lines.next_line().await.ok().flatten()?;
        line.parse().ok()
    }
}
