//! `slabcast config`: prints the commented default file, or says what is wrong with a configuration.

use std::process::ExitCode;

use clap::Subcommand;
use slabcast::config::DEFAULT_TOML;

use super::{EXIT_MISUSED, fail, say_result, settings::Settings, warn};

const CHECK_EXAMPLES: &str = "\
Examples:
  slabcast config check --config slabcast.toml
  slabcast config check --set rooms.chat.slow=skip

Exits with 0 if a server would start with it, and with 2 if not. Warnings go to standard error.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a configuration file with every key, its default and what it is for.
    Default,
    /// Check the configuration that file, environment and these flags make, without serving.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Box<Settings>),
}

pub(super) fn run(command: Command) -> ExitCode {
    match command {
        Command::Default => say_result(DEFAULT_TOML, ExitCode::SUCCESS),
        Command::Check(settings) => match settings.load() {
            Ok(ready) => {
                ready.loaded.warnings.iter().for_each(warn);
                say_result("configuration is valid\n", ExitCode::SUCCESS)
            }
            Err(error) => fail(error, EXIT_MISUSED),
        },
    }
}
