//! What is said in each of the two dialects, and how the answers are read.

use memchr::memmem;
use serde::Deserialize;

use super::plan::Speech;

/// Ids of commands that are said once.
const CONNECT_ID: u32 = 1;
const SUBSCRIBE_ID: u32 = 2;

/// Ids of publish commands: of one width up to the largest that there is, so that they can be
/// written over one another.
const PUBLISH_ID_FIRST: u32 = 1_000_000_000;
const PUBLISH_ID_LAST: u32 = u32::MAX;

/// What logs in.
pub(super) fn connect() -> String {
    format!(r#"{{"id":{CONNECT_ID},"connect":{{}}}}"#)
}

/// What joins a room.
pub(super) fn subscribe(room: &str) -> String {
    format!(r#"{{"id":{SUBSCRIBE_ID},"subscribe":{{"channel":"{room}"}}}}"#)
}

/// A message that is published again and again, each time with another marker and id.
#[derive(Debug)]
pub(super) struct Message {
    text: Vec<u8>,
    payload_at: usize,
    id_at: Option<usize>,
}

impl Message {
    pub(super) fn new(speech: Speech, room: &str, payload: &str) -> Self {
        match speech {
            Speech::Plain => Self {
                text: payload.into(),
                payload_at: 0,
                id_at: None,
            },
            Speech::Centrifugo => {
                let id = r#"{"id":"#;
                let before =
                    format!(r#"{id}{PUBLISH_ID_FIRST},"publish":{{"channel":"{room}","data":""#);
                Self {
                    text: format!(r#"{before}{payload}"}}}}"#).into(),
                    payload_at: before.len(),
                    id_at: Some(id.len()),
                }
            }
        }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn payload(&mut self) -> &mut [u8] {
        &mut self.text[self.payload_at..]
    }

    pub(super) fn number(&mut self, sequence: u32) {
        if let Some(at) = self.id_at {
            let span = PUBLISH_ID_LAST - PUBLISH_ID_FIRST + 1;
            let mut rest = PUBLISH_ID_FIRST + sequence % span;
            for digit in self.text[at..at + 10].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
    }
}

/// What a line of Centrifugo JSON is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Ping,
    /// May hold messages.
    Push,
    LoggedIn,
    Joined,
    /// A command was refused.
    Refused {
        code: u64,
        message: String,
    },
    /// An answer to a publish.
    Nothing,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    id: u32,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    code: u64,
    #[serde(default)]
    message: String,
}

impl Line {
    #[inline]
    pub(super) fn read(line: &[u8]) -> Self {
        if line.starts_with(b"{\"push\"") {
            Self::Push
        } else {
            Self::read_other(line)
        }
    }

    fn read_other(line: &[u8]) -> Self {
        match line.trim_ascii() {
            b"{}" => return Self::Ping,
            b"" => return Self::Nothing,
            _ => {}
        }
        let is_refusal = memmem::find(line, b"\"error\"").is_some();
        // Answers to publishes come as often as publishes: most are not read any further.
        if line.starts_with(b"{\"id\":")
            && !is_refusal
            && line.get(7).is_some_and(u8::is_ascii_digit)
        {
            return Self::Nothing;
        }
        match serde_json::from_slice(line) {
            Ok(Reply {
                error: Some(ReplyError { code, message }),
                ..
            }) => Self::Refused { code, message },
            Ok(Reply { id, .. }) => match id {
                CONNECT_ID => Self::LoggedIn,
                SUBSCRIBE_ID => Self::Joined,
                0 => Self::Push,
                _ => Self::Nothing,
            },
            Err(_) => Self::Push,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_told_from_the_others() {
        let refused = Line::Refused {
            code: 106,
            message: "limit".into(),
        };
        for (line, wanted) in [
            ("{}", Line::Ping),
            ("{} ", Line::Ping),
            ("", Line::Nothing),
            (r#"{"push":{"channel":"r","pub":{"data":1}}}"#, Line::Push),
            (r#"{"channel":"r","pub":{"data":1}}"#, Line::Push),
            (r#"{"id":1,"connect":{"client":"x"}}"#, Line::LoggedIn),
            (r#"{"id":2,"subscribe":{}}"#, Line::Joined),
            (r#"{"id":1000000007,"publish":{}}"#, Line::Nothing),
            (
                r#"{"id":1000000007,"error":{"code":106,"message":"limit"}}"#,
                refused,
            ),
        ] {
            assert_eq!(Line::read(line.as_bytes()), wanted, "{line}");
        }
    }

    #[test]
    fn a_message_is_a_command_whose_id_keeps_its_width() {
        let mut message = Message::new(Speech::Centrifugo, "r", "xyz");
        for (sequence, id) in [(0, 1_000_000_000_u32), (u32::MAX - 1_000_000_000, u32::MAX)] {
            message.number(sequence);
            message.payload()[0] = b'a';
            let wanted = format!(r#"{{"id":{id},"publish":{{"channel":"r","data":"ayz"}}}}"#);
            assert_eq!(String::from_utf8_lossy(message.text()), wanted);
        }
        let plain = Message::new(Speech::Plain, "r", "xyz");
        assert_eq!(plain.text(), b"xyz");
    }
}
