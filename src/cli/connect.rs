//! `slabcast connect`: rooms in the terminal.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::Args;

use super::{EXIT_FAILED, fail};
use crate::client::{
    Address, Login,
    chat::{Chat, Options, Outcome},
    display::Display,
    input,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  slabcast connect                                    the lobby of the server on this machine
  slabcast connect ws://10.0.0.5:8080 team --user ada
  slabcast connect --json --follow </dev/null         every event, a JSON object a line
  SLABCAST_TOKEN=$(slabcast token --user ada) slabcast connect

In a terminal there is a line editor with history; /help lists its commands. Otherwise each line of
standard input is a message or a command, and the end of it is the end, unless --follow. A connection
that breaks is tried again; what was missed is shown, or it is said that it can't be.

Exits with 0 when you go and everything you said arrived, with 1 when the server can't be had or wants
no more of it, or something was refused or may not have arrived, and with 2 for a wrong command line.";

/// How to get in.
#[derive(Debug, Args)]
pub(super) struct Entrance {
    /// Be NAME; others see it
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Show TOKEN, for servers that want one; in the environment it doesn't stand in the list of
    /// processes
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SLABCAST_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
}

impl Entrance {
    pub(super) fn login(self) -> Login {
        Login {
            user: self.user,
            // A variable that is set to nothing is none.
            token: self.token.filter(|token| !token.is_empty()),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Connect {
    /// The server; ws:// or http://, without TLS
    #[arg(default_value = "ws://127.0.0.1:8080", value_parser = Address::parse)]
    url: Address,

    /// The first room
    #[arg(default_value = "lobby")]
    room: String,

    #[command(flatten)]
    entrance: Entrance,

    /// Print every event as a JSON object on a line of its own, and never edit lines
    #[arg(long)]
    json: bool,

    /// Go on listening after the end of standard input
    #[arg(long)]
    follow: bool,
}

pub(super) fn run(connect: Connect) -> ExitCode {
    let is_at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    // To be dropped last, when nothing is printed any more.
    let as_it_was;
    let (input, display) = if is_at_terminal && !connect.json {
        match input::editor() {
            Ok((input, printer, before)) => {
                as_it_was = Some(before);
                (input, Display::Editor(printer))
            }
            Err(error) => {
                return fail(
                    format_args!("the terminal can't be used: {error}"),
                    EXIT_FAILED,
                );
            }
        }
    } else {
        as_it_was = None;
        let display = if connect.json {
            Display::Json
        } else {
            Display::Plain
        };
        (input::lines(), display)
    };
    let options = Options {
        address: connect.url,
        login: connect.entrance.login(),
        room: connect.room,
        follows: connect.follow,
    };
    let runtime = match super::client_runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let outcome = runtime.block_on(Chat::new(options, display, input).run());
    drop(as_it_was);
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Unconfirmed | Outcome::Ended => ExitCode::from(EXIT_FAILED),
    }
}
