//! The command line: one file a subcommand. Knows the library; the library does not know it.

mod bench;
mod config;
mod connect;
mod exec;
mod log;
mod manual;
mod publish;
mod serve;
mod service;
mod settings;
mod study;
mod token;

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use self::settings::Settings;

/// Exit code of a server that failed.
const EXIT_FAILED: u8 = 1;

/// Exit code for a command line or a configuration that one can't start with; clap uses the same.
const EXIT_MISUSED: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  slabcast                                         chat on http://127.0.0.1:8080/, this machine only
  slabcast --listen 0.0.0.0:8080 --anonymous       let the whole network in
  slabcast --config slabcast.toml                  read a file first
  slabcast --set limits.message_bytes=1MiB         set any key of the file
  SLABCAST_LIMITS_MESSAGE_BYTES=1MiB slabcast      the same from the environment
  slabcast exec --room build -- make -j4           a command's output, for whoever watches
  slabcast connect                                 chat from the terminal
  slabcast token --user ada                        a token for ada, for servers that want one
  slabcast config default > slabcast.toml          start a file of your own

The command line wins over the environment, that over the file, and that over the default.
A key's environment variable is SLABCAST_ and the key in capitals, with _ for every dot.";

/// A broadcast server: chat and live notifications from one binary.
///
/// Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "slabcast", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default).
    #[command(after_help = EXAMPLES)]
    Serve(Box<Settings>),
    /// Load a server over real sockets, and account for every message.
    #[command(after_help = bench::EXAMPLES)]
    Bench(Box<bench::Bench>),
    /// Run the server and a command, whose output is a room.
    #[command(after_help = exec::EXAMPLES)]
    Exec(Box<exec::Exec>),
    /// Watch over the command of `exec`, which starts this by itself.
    #[command(hide = true)]
    ExecGuard(exec::Guard),
    /// Take part in rooms, from the terminal.
    #[command(after_help = connect::EXAMPLES)]
    Connect(connect::Connect),
    /// Publish messages in a room.
    #[command(after_help = publish::EXAMPLES)]
    Publish(publish::Publish),
    /// Make a token, by which a server knows who connects.
    #[command(after_help = token::EXAMPLES)]
    Token(Box<token::Token>),
    /// Show or check the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Compare the lock engine and the actor engine on this machine, and write a report.
    Study(study::Arguments),
    /// Print what a shell completes commands and options by.
    #[command(after_help = manual::COMPLETIONS_EXAMPLES)]
    Completions(manual::Completions),
    /// Print the manual page.
    #[command(after_help = manual::MAN_EXAMPLES)]
    Man(manual::Pages),
}

impl Cli {
    /// Does what the command line says, and returns the process's exit code.
    pub(crate) fn run(self) -> ExitCode {
        match self.command {
            None => serve::run(self.settings),
            Some(Command::Serve(settings)) => serve::run(*settings),
            Some(Command::Bench(bench)) => bench::run(*bench),
            Some(Command::Exec(exec)) => exec::run(*exec),
            Some(Command::ExecGuard(guard)) => exec::guard(&guard),
            Some(Command::Connect(connect)) => connect::run(connect),
            Some(Command::Publish(publish)) => publish::run(publish),
            Some(Command::Token(token)) => token::run(*token),
            Some(Command::Config(command)) => config::run(command),
            Some(Command::Study(arguments)) => study::run(arguments),
            Some(Command::Completions(completions)) => manual::completions(&completions),
            Some(Command::Man(pages)) => manual::man(pages),
        }
    }
}

/// What a client runs in: one thread does.
///
/// # Errors
/// The exit code, after what is wrong was printed.
fn client_runtime() -> Result<Runtime, ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            fail(
                format_args!("the runtime can't start: {error}"),
                EXIT_FAILED,
            )
        })
}

/// Prints `text` to standard output and flushes it.
fn say(text: impl fmt::Display) {
    // Whoever closed our standard output does not want to read it, which is no reason to end.
    let _ = write_out(text);
}

/// Prints what a subcommand was run for. Gives `code` back as the exit code, or another if it could
/// not be written.
fn say_result(text: impl fmt::Display, code: ExitCode) -> ExitCode {
    match write_out(text) {
        // Whoever closed our standard output has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(
            format_args!("can't write to standard output: {error}"),
            EXIT_FAILED,
        ),
        _ => code,
    }
}

fn write_out(text: impl fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    write!(stdout, "{text}")?;
    stdout.flush()
}

/// Prints what is odd to standard error.
fn warn(warning: impl fmt::Display) {
    // With standard error closed, nobody wants to read it.
    let _ = writeln!(io::stderr().lock(), "slabcast: warning: {warning}");
}

/// Prints an error to standard error and gives `code` back as the exit code.
fn fail(error: impl fmt::Display, code: u8) -> ExitCode {
    // With standard error closed, the exit code still says that something failed.
    let _ = writeln!(io::stderr().lock(), "slabcast: {error}");
    ExitCode::from(code)
}
