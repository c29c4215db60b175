//! `slabcast publish`: messages from the command line or from standard input.

use std::process::ExitCode;

use clap::Args;

use super::{EXIT_FAILED, connect::Entrance, fail, say};
use crate::client::{Address, Connection, input, publisher::Publisher};

/// What stands for standard input.
const STDIN: &str = "-";

pub(super) const EXAMPLES: &str = "\
Examples:
  slabcast publish lobby 'dinner is ready'
  slabcast publish lobby --json-data '{\"deploy\":\"done\"}'
  tail -f /var/log/syslog | slabcast publish log

Each line of standard input is a message, in its order; several are under way at once. Prints how many
were published.

Exits with 0 when the server acknowledged every message, with 1 when not, after naming the first line
that it did not acknowledge, and with 2 for a wrong command line.";

#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The room
    room: String,

    /// The message; - or nothing: each line of standard input
    #[arg(default_value = STDIN, hide_default_value = true, allow_hyphen_values = true)]
    message: String,

    /// The server; ws:// or http://, without TLS
    #[arg(long, default_value = "ws://127.0.0.1:8080", value_parser = Address::parse)]
    url: Address,

    #[command(flatten)]
    entrance: Entrance,

    /// Each message is JSON, to be published as it is
    #[arg(long)]
    json_data: bool,
}

pub(super) fn run(publish: Publish) -> ExitCode {
    let runtime = match super::client_runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    runtime.block_on(send(publish))
}

async fn send(publish: Publish) -> ExitCode {
    let Publish {
        room,
        message,
        url,
        entrance,
        json_data,
    } = publish;
    let mut connection = match Connection::open(&url, &entrance.login()).await {
        Ok(connection) => connection,
        Err(end) => return fail(end, EXIT_FAILED),
    };
    let is_stdin = message == STDIN;
    let input = if is_stdin {
        input::lines()
    } else {
        input::single(message)
    };
    let publisher = Publisher {
        connection: &mut connection,
        room: &room,
        is_json: json_data,
        has_lines: is_stdin,
    };
    let outcome = publisher.run(input).await;
    connection.close().await;
    let plural = if outcome.published == 1 { "" } else { "s" };
    say(format_args!(
        "published {} message{plural}\n",
        outcome.published
    ));
    match outcome.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => fail(failure, EXIT_FAILED),
    }
}
