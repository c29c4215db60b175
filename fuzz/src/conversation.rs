//! The Centrifugo way in, through a real socket: whatever is said, what comes back are replies to
//! what was asked, in its order, and pushes of rooms that were asked for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use slabcast::{
    close::CloseReason,
    protocol::centrifugo::command::{Command, CommandError, Request, commands},
};

use super::{
    frames::{ServerFrame, client_frame},
    server::Speech,
};

const PERSONAL_ROOM: &str = "#ada";

/// Takes `input` for how the rest of it is torn to pieces, and frames of text, between which stands a
/// zero.
pub fn run(input: &[u8]) {
    let Some((first, said)) = input.split_first() else {
        return;
    };
    let Ok(said) = str::from_utf8(said) else {
        return;
    };
    let mut said: Vec<_> = said.split('\0').collect();
    if first & 1 == 0 {
        said.insert(0, r#"{"id":1,"connect":{}}"#);
    }
    let mut wire = Vec::new();
    for text in said.iter().take(64) {
        let end = text.floor_char_boundary(usize::from(u16::MAX));
        wire.extend(client_frame(0x81, &text.as_bytes()[..end]));
    }
    wire.extend(client_frame(0x88, &1000_u16.to_be_bytes()));
    let speech = Speech {
        path: "/connection/websocket?uid=ada",
        wire: &wire,
        glued: usize::from(first >> 1),
        chunk: usize::MAX,
        farewell: None,
    };
    Asked::of(&said).check(&ServerFrame::all(&speech.hold()));
}

/// What was asked, as far as it can be read.
#[derive(Debug, Default)]
struct Asked {
    ids: Vec<u32>,
    rooms: BTreeSet<String>,
}

impl Asked {
    fn of(said: &[&str]) -> Self {
        let mut asked = Self::default();
        for text in said {
            for (_, command) in commands(text, 0) {
                match command {
                    Ok(command) => asked.note(&command),
                    Err(CommandError::BadParameters { id, .. }) => asked.ids.push(id),
                    Err(_) => {}
                }
            }
        }
        asked
    }

    fn note(&mut self, command: &Command<'_>) {
        self.ids.push(command.id);
        if let Request::Subscribe(subscribe) = &command.request {
            self.rooms.insert(subscribe.channel.to_string());
        }
    }

    fn check(&self, frames: &[ServerFrame]) {
        let mut ids = self.ids.iter();
        for frame in frames {
            match frame.opcode {
                1 => {
                    let text = str::from_utf8(&frame.payload).unwrap();
                    for line in text.split('\n') {
                        self.check_line(line, &mut ids);
                    }
                }
                8 => check_close(frame),
                other => panic!("opcode {other}: {frame:?}"),
            }
        }
        let last = frames.last().map(|frame| frame.opcode);
        assert_eq!(last, Some(8), "a close frame is answered: {frames:?}");
    }

    fn check_line<'a>(&self, line: &str, ids: &mut impl Iterator<Item = &'a u32>) {
        let reply = object(line);
        if let Some(push) = reply.get("push") {
            let push = object(push.get());
            let room: String = serde_json::from_str(push["channel"].get()).unwrap();
            let is_known = self.rooms.contains(&room) || room == PERSONAL_ROOM;
            assert!(is_known, "nobody asked for {line}");
            return;
        }
        let id: u32 = serde_json::from_str(reply["id"].get()).unwrap();
        assert!(ids.any(|asked| *asked == id), "nobody asked for {line}");
        assert_eq!(reply.len(), 2, "an id, and a result or an error: {line}");
        if let Some(error) = reply.get("error") {
            let error = object(error.get());
            let message: String = serde_json::from_str(error["message"].get()).unwrap();
            assert!(!message.is_empty() && message.len() < 1024, "{line}");
        }
    }
}

fn object(json: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn check_close(frame: &ServerFrame) {
    let code = frame.close_code().expect("a code");
    let is_known = CloseReason::ALL
        .iter()
        .any(|reason| reason.centrifugo_code() == code);
    assert!(code == 1000 || is_known, "{code}");
    assert_ne!(code, CloseReason::Internal.centrifugo_code(), "our fault");
}
