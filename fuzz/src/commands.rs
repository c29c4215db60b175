//! Centrifugo commands: what is read is what was written, wherever reading is taken up, and an error
//! quotes nothing.

use std::collections::BTreeMap;

use serde_json::{json, value::RawValue};
use slabcast::protocol::centrifugo::command::{
    Command, CommandError, InRoom, Recovery, Request, commands,
};

use super::text::{assert_harmless, without_digits};

/// Takes `input` for the text of one frame.
pub fn run(input: &[u8]) {
    let Ok(frame) = str::from_utf8(input) else {
        return;
    };
    let all: Vec<_> = commands(frame, 0).collect();
    let lines: Vec<_> = frame
        .strip_suffix('\n')
        .unwrap_or(frame)
        .split('\n')
        .collect();
    assert_eq!(all.len(), lines.len(), "a command a line");
    let mut begin = 0;
    for ((next, read), line) in all.iter().zip(&lines) {
        assert_eq!(*next, begin + line.len() + 1, "the next line begins there");
        begin = *next;
        match read {
            Ok(command) => check(command, line),
            Err(error) => refused(error),
        }
    }
    can_be_taken_up(frame, &all);
}

type Read<'a> = (usize, Result<Command<'a>, CommandError>);

/// A session leaves a frame behind any command, and goes on there.
fn can_be_taken_up(frame: &str, all: &[Read<'_>]) {
    for (index, (next, _)) in all.iter().enumerate() {
        // As the session does: at the end there is nothing to go on with.
        if *next >= frame.len() {
            continue;
        }
        let rest: Vec<_> = commands(frame, *next).collect();
        let wanted = &all[index + 1..];
        assert_eq!(rest.len(), wanted.len(), "taken up at {next}");
        for ((next, read), (wanted_next, wanted)) in rest.iter().zip(wanted) {
            assert_eq!(next, wanted_next);
            assert_eq!(outcome(read), outcome(wanted));
        }
    }
}

fn outcome(read: &Result<Command<'_>, CommandError>) -> String {
    match read {
        Ok(command) => written(command),
        Err(error) => format!("{error:?}"),
    }
}

fn check(command: &Command<'_>, line: &str) {
    let raw: Result<&RawValue, _> = serde_json::from_str(line);
    assert!(raw.is_ok(), "what is no JSON is no command");
    assert!(
        command.id > 0 || matches!(command.request, Request::Pong | Request::Send),
        "a command that no reply could name"
    );
    if let Request::Publish(publish) = &command.request
        && let Some(data) = publish.data
    {
        assert!(line.contains(data.get()), "data is kept as it was written");
        // A `&RawValue` may have a line end only where the frame had one, which ends a command.
        assert!(!data.get().contains('\n'));
    }
    let again = written(command);
    let mut read = commands(&again, 0);
    let (_, read_again) = read.next().unwrap();
    let read_again = read_again.unwrap_or_else(|error| panic!("{again}: {error}"));
    assert!(read.next().is_none(), "{again}");
    assert_eq!(written(&read_again), again, "what was read is read again");
}

/// Only what is said of errors that nobody can learn anything from.
fn refused(error: &CommandError) {
    const FAULTS: [&str; 4] = [
        "not JSON",
        "JSON that ends too early",
        "not an object of the shape that it must have",
        "unreadable",
    ];
    let text = error.to_string();
    assert_harmless(&text, 128);
    let said = without_digits(&text);
    let (what, others): (_, &[&str]) = match error {
        CommandError::Unreadable(_) => (
            "a command is",
            &[
                "command  names no method",
                "a command without an id, must be  or more",
            ],
        ),
        CommandError::BadParameters { id, .. } => {
            assert!(*id > 0 || said.contains("parameters"));
            ("the parameters are", &[])
        }
        other => panic!("an error of a new kind: {other:?}"),
    };
    let is_fault = |fault: &&str| said == format!("{what} {fault}, seen at column ");
    assert!(
        FAULTS.iter().any(is_fault) || others.contains(&&*said),
        "it may quote what was sent: {text}"
    );
}

/// The command in a form of its own, which is one line.
fn written(command: &Command<'_>) -> String {
    let id = command.id;
    let (method, parameters) = match &command.request {
        Request::Pong => return "{}".to_owned(),
        Request::Connect(connect) => {
            let subs: BTreeMap<_, _> = connect
                .subs
                .iter()
                .map(|(room, recovery)| (room.as_ref(), of_recovery(recovery)))
                .collect();
            let parameters = json!({"token": connect.token, "subs": subs});
            ("connect", parameters.to_string())
        }
        Request::Subscribe(subscribe) => {
            let parameters = json!({
                "channel": subscribe.channel, "token": subscribe.token, "recover": subscribe.recover,
                "epoch": subscribe.epoch, "offset": subscribe.offset,
                "join_leave": subscribe.join_leave,
            });
            ("subscribe", parameters.to_string())
        }
        Request::Unsubscribe(room) => ("unsubscribe", of_room(room)),
        Request::Presence(room) => ("presence", of_room(room)),
        Request::PresenceStats(room) => ("presence_stats", of_room(room)),
        Request::Publish(publish) => {
            let channel = json!(publish.channel);
            let parameters = match publish.data {
                // Put in as text: a value that is only passed on can be one that no reader knows.
                Some(data) => format!(r#"{{"channel":{channel},"data":{}}}"#, data.get()),
                None => format!(r#"{{"channel":{channel}}}"#),
            };
            ("publish", parameters)
        }
        Request::History(history) => {
            let mut parameters = json!({
                "channel": history.channel, "limit": history.limit, "reverse": history.reverse,
            });
            if let Some(since) = &history.since {
                parameters["since"] = json!({"offset": since.offset, "epoch": since.epoch});
            }
            ("history", parameters.to_string())
        }
        Request::Rpc(_) => ("rpc", "{}".to_owned()),
        Request::Send => ("send", "{}".to_owned()),
        Request::Refresh(refresh) => ("refresh", json!({"token": refresh.token}).to_string()),
        Request::SubRefresh(refresh) => {
            let parameters = json!({"channel": refresh.channel, "token": refresh.token});
            ("sub_refresh", parameters.to_string())
        }
        Request::Unknown(name) => (name.as_ref(), "{}".to_owned()),
    };
    format!(r#"{{"id":{id},{}:{parameters}}}"#, json!(method))
}

fn of_recovery(recovery: &Recovery<'_>) -> serde_json::Value {
    json!({"recover": recovery.recover, "epoch": recovery.epoch, "offset": recovery.offset})
}

fn of_room(room: &InRoom<'_>) -> String {
    json!({"channel": room.channel}).to_string()
}
