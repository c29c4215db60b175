//! What the user says, line by line: from a line editor, or from wherever standard input leads.

use std::{
    io::{self, BufRead as _, Write as _},
    thread,
};

use rustix::termios::{self, OptionalActions, Termios};
use rustyline::{Config, Editor, error::ReadlineError, history::MemHistory};
use tokio::sync::mpsc;

/// Lines that may wait. More would only be held here instead of in the pipe.
const WAITING_MAX: usize = 256;

/// What stands before the line that is being edited.
const PROMPT: &str = "> ";

/// Lines that the editor remembers, for as long as it runs.
const REMEMBERED_MAX: usize = 500;

/// What has a terminal stop marking what is pasted.
const PLAIN_PASTE: &[u8] = b"\x1b[?2004l";

/// A line, without what ends it.
#[derive(Debug)]
pub(crate) struct Line(pub(crate) String);

/// What comes from the user.
#[derive(Debug)]
pub(crate) enum Input {
    Line(Line),
    /// Something that is no line of text.
    Unreadable(String),
    /// There is no more.
    End,
}

/// One message, and the end.
pub(crate) fn single(message: String) -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(2);
    for input in [Input::Line(Line(message)), Input::End] {
        sender.try_send(input).expect("there is room for two");
    }
    receiver
}

/// Lines from standard input, by a thread of their own: reading it can't be given up.
pub(crate) fn lines() -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let input = match stdin.read_until(b'\n', &mut line) {
                Ok(0) => Input::End,
                Ok(_) => {
                    line.pop_if(|last| *last == b'\n');
                    match String::from_utf8(line) {
                        Ok(line) => Input::Line(Line(line)),
                        Err(_) => Input::Unreadable("it is not UTF-8".to_owned()),
                    }
                }
                Err(error) => Input::Unreadable(format!("it can't be read: {error}")),
            };
            let is_end = !matches!(input, Input::Line(_));
            if sender.blocking_send(input).is_err() || is_end {
                return;
            }
        }
    });
    receiver
}

/// Prints while a line is being edited, without touching it.
pub(crate) type Printer = Box<dyn rustyline::ExternalPrinter + Send>;

/// The terminal as it was before the editor changed it, to which it returns when this is dropped:
/// the editor may be in the middle of a line then.
#[derive(Debug)]
pub(crate) struct AsItWas(Option<Termios>);

impl Drop for AsItWas {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that is gone needs nothing.
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(PLAIN_PASTE).and_then(|()| stdout.flush());
        }
    }
}

/// Lines from a line editor, which runs in a thread of its own.
pub(crate) fn editor() -> rustyline::Result<(mpsc::Receiver<Input>, Printer, AsItWas)> {
    let as_it_was = AsItWas(termios::tcgetattr(io::stdin()).ok());
    let config = Config::builder()
        .max_history_size(REMEMBERED_MAX)?
        .auto_add_history(true)
        .build();
    let history = MemHistory::with_config(&config);
    let mut editor = Editor::<(), _>::with_history(config, history)?;
    let printer = Box::new(editor.create_external_printer()?);
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    thread::spawn(move || {
        loop {
            let input = match editor.readline(PROMPT) {
                Ok(line) => Input::Line(Line(line)),
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => Input::End,
                Err(error) => Input::Unreadable(format!("the terminal can't be read: {error}")),
            };
            let is_end = !matches!(input, Input::Line(_));
            if sender.blocking_send(input).is_err() || is_end {
                return;
            }
        }
    });
    Ok((receiver, printer, as_it_was))
}
