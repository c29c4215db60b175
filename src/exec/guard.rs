//! `slabcast exec-guard`: the command's parent process, which outlives the server just long enough
//! to end the command's whole process group.
//!
//! Standard input is a socket to the server. What is reported goes out on it; that the server wants
//! the end, or is no more, is the end of what comes in. The command writes straight into the pipes
//! that the server gave this process as its output.
//!
//! The command is not reaped before its group is ended: until then nobody else can have its number.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    os::{
        fd::AsFd as _,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::report::{Ended, Report};

/// The environment variables that configure a server. A command has no use for them, and what it
/// prints is read by others.
const OUR_VARIABLES: &str = "SLABCAST_";

/// Between looks whether a group is empty: nobody tells.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How long killed processes may take to be gone. Those that take longer hang in the kernel.
const KILLED_PATIENCE: Duration = Duration::from_secs(1);

/// Runs `argv` until it has ended and the server wants the end; then, whatever is left of its group
/// has `grace` between SIGTERM and SIGKILL.
pub(crate) fn run(argv: &[OsString], grace: Duration) -> ExitCode {
    match guard(argv, grace) {
        Ok(()) => ExitCode::SUCCESS,
        // Standard error is the command's. The server notices that it hears nothing more.
        Err(_) => ExitCode::FAILURE,
    }
}

fn guard(argv: &[OsString], grace: Duration) -> io::Result<()> {
    let server = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut command = match spawn(argv) {
        Ok(command) => command,
        Err(error) => {
            return report(&server, Report::Refused(error.raw_os_error().unwrap_or(0)));
        }
    };
    let group = Pid::from_child(&command);
    // From here on the command must not be left alone, so errors are for the end. It is watched only
    // once its start is reported, for it may end at once.
    let told =
        let_go_of_output().and_then(|()| report(&server, Report::Started(group.as_raw_pid())));
    let ended = watch(group, server.try_clone());
    if told.is_ok() {
        wait_for_the_end(&server);
    }
    end(&mut command, group, &ended, grace);
    told
}

fn spawn(argv: &[OsString]) -> io::Result<Child> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(OUR_VARIABLES) {
            command.env_remove(name);
        }
    }
    // What is said to the service manager is for us to say.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    command.spawn()
}

/// Only the command may hold the pipes open: their end is the end of its output.
fn let_go_of_output() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

fn report(mut server: &UnixStream, report: Report) -> io::Result<()> {
    server.write_all(format!("{report}\n").as_bytes())
}

/// Reports the command's end when it comes, and says so through the channel.
fn watch(command: Pid, server: io::Result<UnixStream>) -> Receiver<()> {
    let (ended, receiver) = mpsc::channel();
    thread::spawn(move || {
        let status = loop {
            // Only looks: the reaping is for later.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            match waitid(WaitId::Pid(command), options) {
                Err(rustix::io::Errno::INTR) => {}
                status => break status.ok().flatten(),
            }
        };
        let how = status.map_or(Ended::Unknown, |status| {
            let code = status.exit_status().map(Ended::Code);
            let signal = || status.terminating_signal().map(Ended::Signal);
            code.or_else(signal).unwrap_or(Ended::Unknown)
        });
        // Without a server there is nobody to tell.
        let _ = server.and_then(|server| report(&server, Report::Ended(how)));
        let _ = ended.send(());
    });
    receiver
}

/// Returns when the server wants the end, or is no more.
fn wait_for_the_end(mut server: &UnixStream) {
    let mut nothing = [0; 64];
    loop {
        match server.read(&mut nothing) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Ends the group: politely, and after `grace` for good.
fn end(command: &mut Child, group: Pid, ended: &Receiver<()>, grace: Duration) {
    let deadline = Instant::now() + grace;
    // A signal for a group of the dead fails, and has nothing to do.
    let _ = kill_process_group(group, Signal::TERM);
    if ended.recv_timeout(grace) == Err(RecvTimeoutError::Timeout) {
        let _ = kill_process_group(group, Signal::KILL);
        let _ = ended.recv();
    }
    let _ = command.wait();
    if !is_empty_by(group, deadline) {
        let _ = kill_process_group(group, Signal::KILL);
        is_empty_by(group, Instant::now() + KILLED_PATIENCE);
    }
}

/// Whether nobody is left in `group`, waiting for that until `deadline`. While somebody is, no other
/// process can get the group's number.
fn is_empty_by(group: Pid, deadline: Instant) -> bool {
    loop {
        let look = rustix::process::test_kill_process_group(group);
        if look == Err(rustix::io::Errno::SRCH) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(LOOK_INTERVAL);
    }
}
