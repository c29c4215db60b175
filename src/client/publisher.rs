//! Publishes a stream of messages: many under way, in their order, each acknowledged.

use std::{collections::VecDeque, fmt};

use tokio::sync::mpsc;

use super::{
    Connection, End,
    input::{Input, Line},
    wire::{Incoming, Publish, command, one_line, text},
};

/// Messages under way. Ten times as many would be no quicker; with a tenth the way to the server and
/// back would be waited for again and again.
const UNDER_WAY_MAX: usize = 256;

/// Why not everything was published.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Which line, counted from 1; none where there is only one message.
    line: Option<usize>,
    problem: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// What became of the messages.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many were acknowledged.
    pub(crate) published: usize,
    /// The first thing that went wrong.
    pub(crate) failure: Option<Failure>,
}

/// What is published, and where.
pub(crate) struct Publisher<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) room: &'a str,
    /// Whether each message is JSON, instead of text.
    pub(crate) is_json: bool,
    /// Whether there are lines to name.
    pub(crate) has_lines: bool,
}

impl Publisher<'_> {
    /// Publishes what comes until it ends or something goes wrong; what is under way then is still
    /// waited for.
    pub(crate) async fn run(mut self, mut input: mpsc::Receiver<Input>) -> Outcome {
        let mut outcome = Outcome::default();
        // Replies come in the order of the commands.
        let mut under_way: VecDeque<(u32, usize)> = VecDeque::new();
        let mut number = 0;
        let mut is_open = true;
        while is_open || !under_way.is_empty() {
            tokio::select! {
                incoming = self.connection.next() => match incoming {
                    Ok(incoming) => self.settle(&incoming, &mut under_way, &mut outcome),
                    Err(end) => {
                        self.give_up(&end, &under_way, &mut outcome);
                        return outcome;
                    }
                },
                next = input.recv(), if is_open && under_way.len() < UNDER_WAY_MAX => {
                    number += 1;
                    match self.send(next, &input).await {
                        Ok(Some(id)) => under_way.push_back((id, number)),
                        Ok(None) => is_open = false,
                        Err(problem) => self.fail(&mut outcome, number, problem),
                    }
                }
            }
            is_open &= outcome.failure.is_none();
        }
        outcome
    }

    /// Sends what is next, if anything is, and returns the id that the reply will have.
    async fn send(
        &mut self,
        next: Option<Input>,
        input: &mpsc::Receiver<Input>,
    ) -> Result<Option<u32>, String> {
        let line = match next {
            Some(Input::Line(Line(line))) => line,
            Some(Input::Unreadable(problem)) => return Err(problem),
            Some(Input::End) | None => return Ok(None),
        };
        let data = if self.is_json {
            one_line(&line).map_err(|error| format!("it is not JSON: {error}"))?
        } else {
            text(&line)
        };
        let id = self.connection.next_id();
        let publish = Publish {
            channel: self.room,
            data: &data,
        };
        let command = command(id, "publish", &publish);
        let sent = if input.is_empty() {
            self.connection.send(command).await
        } else {
            // More is there to go with it.
            self.connection.feed(command).await
        };
        // Why it can't be sent, the reading says: there may be a close frame with a reason.
        drop(sent);
        Ok(Some(id))
    }

    fn settle(
        &self,
        incoming: &Incoming,
        under_way: &mut VecDeque<(u32, usize)>,
        outcome: &mut Outcome,
    ) {
        let Some((id, number)) = under_way.front().copied() else {
            return;
        };
        if incoming.id != id {
            return;
        }
        under_way.pop_front();
        match &incoming.error {
            None => outcome.published += 1,
            Some(error) => {
                let problem = format!("refused: {} ({})", error.message, error.code);
                self.fail(outcome, number, problem);
            }
        }
    }

    fn give_up(&self, end: &End, under_way: &VecDeque<(u32, usize)>, outcome: &mut Outcome) {
        let number = under_way.front().map_or(0, |(_, number)| *number);
        let problem = match under_way.len() {
            0 => format!("{end}"),
            1 => format!("not acknowledged: {end}"),
            count => format!("this and {} more not acknowledged: {end}", count - 1),
        };
        self.fail(outcome, number, problem);
    }

    fn fail(&self, outcome: &mut Outcome, number: usize, problem: String) {
        let line = (self.has_lines && number > 0).then_some(number);
        outcome.failure.get_or_insert(Failure { line, problem });
    }
}
