//! What the user is shown: text for people, or a JSON object a line for programs.
//!
//! What others wrote may be an attack on the terminal: escape sequences that move the cursor, or
//! invisible characters that turn text around. Nothing of the kind gets through.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write as _},
};

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{input::Printer, wire::Who};

/// How many characters of a connection's id stand for a user without a name.
const CLIENT_CHARS: usize = 8;

/// Something that happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    Connected {
        server: String,
        client: &'a str,
    },
    Disconnected {
        reason: String,
        /// Whether it is tried again.
        retrying: bool,
    },
    /// This client is in the room.
    Subscribed {
        room: &'a str,
        /// For one that was there before: whether it has missed nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
    },
    Unsubscribed {
        room: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Message {
        room: &'a str,
        data: &'a RawValue,
        /// None for the server itself.
        info: Option<&'a Who>,
        #[serde(skip_serializing_if = "is_zero")]
        offset: u64,
        /// Whether it is an old one that was asked for.
        #[serde(skip_serializing_if = "is_false")]
        history: bool,
    },
    Join {
        room: &'a str,
        info: &'a Who,
    },
    Leave {
        room: &'a str,
        info: &'a Who,
    },
    Presence {
        room: &'a str,
        clients: Vec<&'a Who>,
    },
    /// The server left messages out, because this client was too slow.
    Gap {
        room: &'a str,
        skipped: u64,
    },
    Refused {
        room: &'a str,
        what: &'a str,
        code: u32,
        message: &'a str,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Where events go.
pub(crate) enum Display {
    /// Text on standard output, and what is not from a room on standard error.
    Plain,
    /// A JSON object a line on standard output.
    Json,
    /// Text above the line that is being edited.
    Editor(Printer),
}

impl Display {
    /// Whether the user sees what was typed anyway.
    pub(super) fn shows_input(&self) -> bool {
        matches!(self, Self::Editor(_))
    }

    /// Shows `event`.
    ///
    /// # Errors
    /// Nobody looks any more.
    pub(super) fn show(&mut self, event: &Event<'_>) -> io::Result<()> {
        match self {
            Self::Json => {
                let json = serde_json::to_string(event).expect("texts, numbers and JSON");
                out(&escape_json(&json))
            }
            Self::Plain if event.is_from_a_room() => out(&event.to_text()),
            Self::Plain => note(&event.to_text()),
            Self::Editor(printer) => print(printer, &event.to_text()),
        }
    }

    /// Says something to the user that is no event.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Json | Self::Plain => note(text),
            Self::Editor(printer) => print(printer, text),
        }
    }
}

fn out(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn note(line: &str) -> io::Result<()> {
    // Without standard error there is nobody to tell, and the messages go on.
    let _ = writeln!(io::stderr().lock(), "{line}");
    Ok(())
}

fn print(printer: &mut Printer, text: &str) -> io::Result<()> {
    printer.print(format!("{text}\n")).map_err(io::Error::other)
}

impl Event<'_> {
    fn is_from_a_room(&self) -> bool {
        matches!(
            self,
            Self::Message { .. } | Self::Join { .. } | Self::Leave { .. } | Self::Presence { .. }
        )
    }

    /// For people, with nothing in it that a terminal would obey.
    fn to_text(&self) -> String {
        match self {
            Self::Connected { server, .. } => format!("* connected to {}", escape(server)),
            Self::Disconnected { reason, retrying } => {
                let next = if *retrying { "; trying again" } else { "" };
                format!("* {}{next}", escape(reason))
            }
            Self::Subscribed { room, recovered } => {
                let what = match recovered {
                    None => "you are in",
                    Some(true) => "you are back, and have missed nothing",
                    Some(false) => "you are back; what was said meanwhile can't be had any more",
                };
                format!("[{}] * {what}", escape(room))
            }
            Self::Unsubscribed { room, reason } => {
                let reason = reason
                    .as_ref()
                    .map(|reason| format!(": {}", escape(reason)));
                format!(
                    "[{}] * you have left{}",
                    escape(room),
                    reason.unwrap_or_default()
                )
            }
            Self::Message {
                room,
                data,
                info,
                history,
                ..
            } => {
                let old = if *history { "(earlier) " } else { "" };
                let said = said(data);
                format!("[{}] {old}{}: {}", escape(room), name(*info), escape(&said))
            }
            Self::Join { room, info } => format!("[{}] + {}", escape(room), name(Some(info))),
            Self::Leave { room, info } => format!("[{}] - {}", escape(room), name(Some(info))),
            Self::Presence { room, clients } => {
                let names: Vec<_> = clients.iter().map(|info| name(Some(info))).collect();
                format!(
                    "[{}] {} here: {}",
                    escape(room),
                    names.len(),
                    names.join(", ")
                )
            }
            Self::Gap { room, skipped } => {
                format!("[{}] * {skipped} messages were left out", escape(room))
            }
            Self::Refused {
                room,
                what,
                code,
                message,
            } => format!(
                "[{}] * {what} refused: {} ({code})",
                escape(room),
                escape(message)
            ),
        }
    }
}

/// How a connection is called.
fn name(info: Option<&Who>) -> String {
    match info {
        None => "server".to_owned(),
        Some(Who { user, client }) if user.is_empty() => {
            let short: String = client.chars().take(CLIENT_CHARS).collect();
            format!("({})", escape(&short))
        }
        Some(Who { user, .. }) => escape(user).into_owned(),
    }
}

/// What a message says: the text of one that is text, or has some as the chat page's have.
fn said(data: &RawValue) -> String {
    let text = match serde_json::from_str(data.get()) {
        Ok(Value::String(text)) => Some(text),
        Ok(Value::Object(mut fields)) => match fields.remove("text") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    };
    text.unwrap_or_else(|| data.get().to_owned())
}

/// Whether a terminal would obey `c`, or show what follows in another order.
fn is_dangerous(c: char) -> bool {
    let turns_text = matches!(
        c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() || turns_text || ends_line
}

/// `text` without anything that a terminal would obey.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::new();
    for c in text.chars() {
        if is_dangerous(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The same for JSON, which stays the same JSON: outside its strings there are no such characters.
fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_dangerous) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::new();
    for c in json.chars() {
        match c {
            // Between tokens, where somebody wrote JSON in a way of his own.
            '\t' | '\n' | '\r' => escaped.push(' '),
            // All of them are in the first plane, so that one escape does.
            c if is_dangerous(c) => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(data: &str, user: &str) -> String {
        let data = RawValue::from_string(data.to_owned()).unwrap();
        let info = Who {
            user: user.to_owned(),
            client: "0123456789".to_owned(),
        };
        let event = Event::Message {
            room: "lobby",
            data: &data,
            info: Some(&info),
            offset: 1,
            history: false,
        };
        event.to_text()
    }

    #[test]
    fn text_is_shown_as_text_and_other_json_as_it_is() {
        assert_eq!(message(r#""hi""#, "ada"), "[lobby] ada: hi");
        assert_eq!(
            message(r#"{"text":"hi","mid":1}"#, ""),
            "[lobby] (01234567): hi"
        );
        assert_eq!(message(r#"{"a":1}"#, "ada"), r#"[lobby] ada: {"a":1}"#);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let hostile = "\x1b]0;x\x07\u{9b}2J\u{202e}\u{2028}\r\n\t\x7f";
        let json = serde_json::to_string(hostile).unwrap();
        for shown in [message(&json, "ada"), message("1", hostile)] {
            assert!(!shown.contains(is_dangerous), "{shown:?}");
            assert!(
                shown.contains("\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{202e}"),
                "{shown}"
            );
        }
        let escaped = escape_json(&json);
        assert!(!escaped.contains(is_dangerous));
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), hostile);
    }

    #[test]
    fn harmless_text_is_not_touched() {
        let text = "Grüße, 世界 👩‍👩‍👧 – \"quoted\" \\u";
        assert_eq!(escape(text), text);
        let json = serde_json::to_string(text).unwrap();
        assert_eq!(escape_json(&json), json);
    }
}
