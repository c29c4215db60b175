//! `slabcast completions` and `slabcast man`: what shells and readers are told of the command line, made
//! of the command line itself.

use std::{fs, io, path::PathBuf, process::ExitCode};

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, EXIT_FAILED, fail, say_result};

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  slabcast completions bash > ~/.local/share/bash-completion/completions/slabcast
  slabcast completions zsh > ~/.zfunc/_slabcast
  slabcast completions fish > ~/.config/fish/completions/slabcast.fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  slabcast man | man -l -
  slabcast man --into ~/.local/share/man/man1";

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell that is to read them
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct Pages {
    /// Write this page, and one for each subcommand, into DIRECTORY
    #[arg(long, value_name = "DIRECTORY")]
    into: Option<PathBuf>,
}

pub(super) fn completions(completions: &Completions) -> ExitCode {
    let mut script = Vec::new();
    let mut command = for_readers();
    let name = command.get_name().to_owned();
    clap_complete::generate(completions.shell, &mut command, name, &mut script);
    say_result(String::from_utf8_lossy(&script), ExitCode::SUCCESS)
}

pub(super) fn man(pages: Pages) -> ExitCode {
    let written = match pages.into {
        Some(directory) => fs::create_dir_all(&directory)
            .and_then(|()| clap_mangen::generate_to(for_readers(), &directory))
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| format!("{}: {error}", directory.display())),
        None => page()
            .map(|page| say_result(page, ExitCode::SUCCESS))
            .map_err(|error| error.to_string()),
    };
    match written {
        Ok(code) => code,
        Err(error) => fail(
            format_args!("the manual can't be written: {error}"),
            EXIT_FAILED,
        ),
    }
}

/// The command line without what the program calls by itself. The generators' own idea of what is
/// hidden differs.
fn for_readers() -> Command {
    let whole = Cli::command();
    let shown = whole
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let mut command = Command::new(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned())
        .subcommands(shown.cloned());
    if let Some(about) = whole.get_about() {
        command = command.about(about.clone());
    }
    if let Some(about) = whole.get_long_about() {
        command = command.long_about(about.clone());
    }
    if let Some(help) = whole.get_after_help() {
        command = command.after_help(help.clone());
    }
    command
}

fn page() -> io::Result<String> {
    let mut page = Vec::new();
    Man::new(for_readers().disable_help_subcommand(true)).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
