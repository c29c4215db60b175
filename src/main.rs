//! The `slabcast` program: parses the command line and does what it says.

mod cli;
mod load;
mod study;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
