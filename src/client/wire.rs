//! Centrifugo JSON as a client speaks it: commands out, replies and pushes in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One line of a frame that the server sent. Which of the fields there are says what it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Incoming {
    /// Of the command that this answers; 0 if it answers none.
    pub(super) id: u32,
    pub(super) error: Option<Refusal>,
    pub(super) connect: Option<Connected>,
    pub(super) subscribe: Option<Subscribed>,
    pub(super) presence: Option<Presence>,
    pub(super) history: Option<History>,
    pub(super) push: Option<Push>,
}

/// Why a command was refused.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: u32,
    pub(super) message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connected {
    pub(super) client: String,
    /// Seconds between the server's pings; none if 0.
    pub(super) ping: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Subscribed {
    pub(super) recoverable: bool,
    pub(super) epoch: String,
    pub(super) offset: u64,
    pub(super) publications: Vec<Published>,
    pub(super) recovered: bool,
    pub(super) was_recovering: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Presence {
    pub(super) presence: BTreeMap<String, Who>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    pub(super) publications: Vec<Published>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Push {
    pub(super) channel: String,
    #[serde(rename = "pub")]
    pub(super) publication: Option<Published>,
    pub(super) join: Option<Presented>,
    pub(super) leave: Option<Presented>,
    pub(super) message: Option<ServerMessage>,
    /// The server ends the subscription.
    pub(super) unsubscribe: Option<Unsubscribed>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Published {
    pub(super) data: Box<RawValue>,
    #[serde(default)]
    pub(super) offset: u64,
    /// None for the server itself.
    pub(super) info: Option<Who>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Presented {
    pub(super) info: Who,
}

/// What is said to this connection, and not to a room.
#[derive(Debug, Deserialize)]
pub(super) struct ServerMessage {
    pub(super) data: Box<RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Unsubscribed {
    pub(super) code: u32,
    pub(super) reason: String,
}

/// The server's message that it left something out.
#[derive(Debug, Deserialize)]
pub(super) struct GapMessage {
    pub(super) gap: Gap,
}

#[derive(Debug, Deserialize)]
pub(super) struct Gap {
    pub(super) channel: String,
    pub(super) skipped: u64,
}

/// A connection, as others see it.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Who {
    pub(super) user: String,
    pub(super) client: String,
}

impl Incoming {
    /// Whether it is a ping, which has to be answered.
    pub(super) fn is_ping(line: &str) -> bool {
        line.trim() == "{}"
    }
}

/// A command's line: its id, its method, its parameters.
pub(super) fn command(id: u32, method: &str, parameters: &impl Serialize) -> String {
    let parameters = serde_json::to_string(parameters).expect("texts, numbers and flags");
    format!(r#"{{"id":{id},"{method}":{parameters}}}"#)
}

/// The parameters of `publish`.
#[derive(Debug, Serialize)]
pub(super) struct Publish<'a> {
    pub(super) channel: &'a str,
    pub(super) data: &'a RawValue,
}

/// A JSON string of `text`.
pub(super) fn text(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a text is a JSON string")
}

/// `json`, on one line: a line ends a command.
pub(super) fn one_line(json: &str) -> serde_json::Result<Box<RawValue>> {
    // Within its strings JSON has no line breaks of its own.
    serde_json::from_str(&json.replace(['\n', '\r'], " "))
}
