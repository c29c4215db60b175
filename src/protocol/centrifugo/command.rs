//! What a client sends: text to commands.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

/// One command of a client. A frame holds one for each of its lines.
#[derive(Debug)]
pub struct Command<'a> {
    /// What the reply will carry; 0 on those that get none.
    pub id: u32,
    /// What it asks for.
    pub request: Request<'a>,
}

/// What a command asks for.
#[derive(Debug)]
pub enum Request<'a> {
    /// `{}`: the answer to a ping.
    Pong,
    /// Who it is, and first subscriptions.
    Connect(Connect<'a>),
    /// To be in a room.
    Subscribe(Subscribe<'a>),
    /// To leave one.
    Unsubscribe(InRoom<'a>),
    /// To publish.
    Publish(Publish<'a>),
    /// Who is there.
    Presence(InRoom<'a>),
    /// How many are there.
    PresenceStats(InRoom<'a>),
    /// What was published lately.
    History(History<'a>),
    /// A method of the embedder's.
    Rpc(Rpc<'a>),
    /// A new connection token.
    Refresh(Refresh<'a>),
    /// A new subscription token.
    SubRefresh(SubRefresh<'a>),
    /// A message for the server, without a reply.
    Send,
    /// A method that nobody knows.
    Unknown(Cow<'a, str>),
}

/// The parameters of `connect`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Connect<'a> {
    /// Who it is.
    #[serde(borrow)]
    pub token: Cow<'a, str>,
    /// What it wants to recover of rooms that the server puts it in, by their names.
    #[serde(borrow)]
    pub subs: HashMap<Cow<'a, str>, Recovery<'a>>,
    /// What it says to the embedder.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
}

/// Whether to have what was missed, and since when.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Recovery<'a> {
    /// Whether to.
    pub recover: bool,
    /// The life of the numbering.
    #[serde(borrow)]
    pub epoch: Cow<'a, str>,
    /// The last publication that it had.
    pub offset: u64,
}

/// The parameters of `subscribe`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Subscribe<'a> {
    /// Which room.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// A right to it.
    #[serde(borrow)]
    pub token: Cow<'a, str>,
    /// Whether to have what was missed since `offset` of `epoch`.
    pub recover: bool,
    /// The life of the numbering.
    #[serde(borrow)]
    pub epoch: Cow<'a, str>,
    /// The last publication that it had.
    pub offset: u64,
    /// Whether to be told who comes and goes.
    pub join_leave: bool,
    /// What it says to the embedder.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
}

/// The parameters of `refresh`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refresh<'a> {
    /// Who it still is.
    #[serde(borrow)]
    pub token: Cow<'a, str>,
}

/// The parameters of `sub_refresh`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SubRefresh<'a> {
    /// Which room.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// A right to it.
    #[serde(borrow)]
    pub token: Cow<'a, str>,
}

/// The parameters of commands that only name a room.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct InRoom<'a> {
    /// Which room.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
}

/// The parameters of `publish`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Publish<'a> {
    /// Which room.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// Any JSON value, kept as it was written; `null` is one.
    #[serde(borrow, deserialize_with = "present")]
    pub data: Option<&'a RawValue>,
}

/// The parameters of `rpc`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rpc<'a> {
    /// Which method.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// What it is called with.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
}

/// What is there is some value: an `Option` by itself would take `null` for nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The parameters of `history`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct History<'a> {
    /// Which room.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// How many publications; 0 for the position only, negative for all.
    pub limit: i32,
    /// From where.
    #[serde(borrow)]
    pub since: Option<StreamPosition<'a>>,
    /// Newest first.
    pub reverse: bool,
}

/// A place in a room's history.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamPosition<'a> {
    /// The number of a publication.
    pub offset: u64,
    /// The life of the numbering.
    #[serde(borrow)]
    pub epoch: Cow<'a, str>,
}

/// What is wrong with a command.
#[derive(Debug)]
#[non_exhaustive]
pub enum CommandError {
    /// It can't be read as a command at all: the connection ends.
    Unreadable(String),
    /// It could be read, but its parameters can't: it is answered with an error.
    BadParameters {
        /// What it will be answered under.
        id: u32,
        /// What is wrong.
        detail: String,
    },
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(detail) | Self::BadParameters { detail, .. } => f.write_str(detail),
        }
    }
}

impl std::error::Error for CommandError {}

/// The commands in a frame from byte `from` on, one a line, in their order; each with the byte at
/// which the next one begins. An empty line at the end is none.
pub fn commands(
    frame: &str,
    from: usize,
) -> impl Iterator<Item = (usize, Result<Command<'_>, CommandError>)> {
    let frame = frame.strip_suffix('\n').unwrap_or(frame);
    let mut next = from;
    frame[from..].split('\n').map(move |line| {
        next += line.len() + 1;
        (next, Command::parse(line))
    })
}

impl<'a> Command<'a> {
    fn parse(line: &'a str) -> Result<Self, CommandError> {
        let envelope: Envelope<'a> = serde_json::from_str(line)
            .map_err(|error| CommandError::Unreadable(format!("a command is {}", fault(&error))))?;
        let Envelope { id, method } = envelope;
        let Some((name, parameters)) = method else {
            return match id {
                0 => Ok(Self {
                    id,
                    request: Request::Pong,
                }),
                _ => Err(CommandError::Unreadable(format!(
                    "command {id} names no method"
                ))),
            };
        };
        if id == 0 && name != "send" {
            let detail = "a command without an id, must be 1 or more";
            return Err(CommandError::Unreadable(detail.to_owned()));
        }
        let request =
            Request::parse(name, parameters).map_err(|error| CommandError::BadParameters {
                id,
                detail: format!("the parameters are {}", fault(&error)),
            })?;
        Ok(Self { id, request })
    }
}

impl<'a> Request<'a> {
    fn parse(name: Cow<'a, str>, parameters: &'a RawValue) -> serde_json::Result<Self> {
        let json = parameters.get();
        Ok(match &*name {
            "connect" => Self::Connect(serde_json::from_str(json)?),
            "subscribe" => Self::Subscribe(serde_json::from_str(json)?),
            "unsubscribe" => Self::Unsubscribe(serde_json::from_str(json)?),
            "publish" => Self::Publish(serde_json::from_str(json)?),
            "presence" => Self::Presence(serde_json::from_str(json)?),
            "presence_stats" => Self::PresenceStats(serde_json::from_str(json)?),
            "history" => Self::History(serde_json::from_str(json)?),
            "rpc" => Self::Rpc(serde_json::from_str(json)?),
            "refresh" => Self::Refresh(serde_json::from_str(json)?),
            "sub_refresh" => Self::SubRefresh(serde_json::from_str(json)?),
            "send" => Self::Send,
            _ => Self::Unknown(name),
        })
    }
}

/// What is wrong with some JSON and where, without a word of it: serde's own messages quote the value,
/// which would carry payloads into logs.
fn fault(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Syntax => "not JSON",
        Category::Eof => "JSON that ends too early",
        Category::Data => "not an object of the shape that it must have",
        Category::Io => "unreadable",
    };
    format!("{what}, seen at column {}", error.column())
}

struct Envelope<'a> {
    id: u32,
    method: Option<(Cow<'a, str>, &'a RawValue)>,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

/// By hand, because the method is a key: derived code would try each as an optional field, and take
/// two of them for one command.
struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an id and one method")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut id, mut method) = (None, None);
        while let Some(BorrowedKey(key)) = map.next_key()? {
            if key == "id" {
                if id.replace(map.next_value::<u32>()?).is_some() {
                    return Err(de::Error::duplicate_field("id"));
                }
            } else if method.replace((key, map.next_value()?)).is_some() {
                return Err(de::Error::custom("two methods in one command"));
            }
        }
        Ok(Envelope {
            id: id.unwrap_or(0),
            method,
        })
    }
}

/// A key that is borrowed where it can be.
#[derive(Deserialize)]
struct BorrowedKey<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Result<Command<'_>, CommandError>> {
        commands(text, 0).map(|(_, command)| command).collect()
    }

    #[test]
    fn a_frame_holds_a_command_a_line() {
        let text = "{\"id\":1,\"connect\":{}}\n{\"subscribe\":{\"channel\":\"lobby\"},\"id\":2}\n";
        let parsed = parse(text);
        assert_eq!(parsed.len(), 2);
        let Ok(Command {
            id: 2,
            request: Request::Subscribe(subscribe),
        }) = &parsed[1]
        else {
            panic!("{parsed:?}");
        };
        assert_eq!(subscribe.channel, "lobby");
        assert!(!subscribe.recover);
    }

    #[test]
    fn a_frame_can_be_taken_up_where_it_was_left() {
        let text = "{\"id\":1,\"rpc\":{}}\n{\"id\":2,\"rpc\":{}}\n";
        let (next, _) = commands(text, 0).next().unwrap();
        let ids: Vec<_> = commands(text, next)
            .map(|(_, command)| command.unwrap().id)
            .collect();
        assert_eq!(ids, [2]);
    }

    #[test]
    fn an_empty_object_is_a_pong() {
        assert!(matches!(
            parse("{}")[0],
            Ok(Command {
                id: 0,
                request: Request::Pong
            })
        ));
    }

    #[test]
    fn data_is_kept_as_it_was_written() {
        let text = r#"{"id":7,"publish":{"channel":"a","data":{"b":1.0, "a":"\u00e9"}}}"#;
        let Ok(Command {
            id: 7,
            request: Request::Publish(publish),
        }) = &parse(text)[0]
        else {
            panic!();
        };
        assert_eq!(publish.data.unwrap().get(), r#"{"b":1.0, "a":"\u00e9"}"#);
    }

    #[test]
    fn null_is_data_and_nothing_is_not() {
        let data = |text| match parse(text).remove(0) {
            Ok(Command {
                request: Request::Publish(publish),
                ..
            }) => publish.data.map(|data| data.get().to_owned()),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            data(r#"{"id":1,"publish":{"channel":"a","data":null}}"#).unwrap(),
            "null"
        );
        assert_eq!(data(r#"{"id":1,"publish":{"channel":"a"}}"#), None);
    }

    #[test]
    fn what_is_not_a_command_ends_the_connection() {
        for text in [
            "",
            "x",
            "[]",
            "1",
            "null",
            "{\"id\":1}",
            "{\"id\":-1,\"rpc\":{}}",
            "{\"connect\":{}}",
            "{\"id\":0,\"connect\":{}}",
            "{\"id\":4294967296,\"connect\":{}}",
            "{\"id\":1,\"id\":2,\"connect\":{}}",
            "{\"id\":1,\"connect\":{},\"publish\":{}}",
            "{\"id\":1,\"connect\":{}}}",
            "{\"id\":1,\"connect\":{}}\n\n",
        ] {
            let parsed = parse(text);
            assert!(
                matches!(parsed.last(), Some(Err(CommandError::Unreadable(_)))),
                "{text}"
            );
        }
    }

    #[test]
    fn wrong_parameters_are_answered_under_the_commands_id() {
        for text in [
            r#"{"id":5,"subscribe":{"channel":5}}"#,
            r#"{"id":5,"subscribe":"lobby"}"#,
            r#"{"id":5,"history":{"channel":"a","limit":"all"}}"#,
            r#"{"id":5,"subscribe":{"channel":"a","offset":-1}}"#,
        ] {
            assert!(
                matches!(
                    parse(text)[0],
                    Err(CommandError::BadParameters { id: 5, .. })
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn an_error_quotes_nothing_of_what_was_sent() {
        for text in [
            r#"{"id":"hunter2"}"#,
            r#"{"id":1,"subscribe":{"channel":"a","recover":"hunter2"}}"#,
            r#"{"id":1,"hunter2":1,"hunter2":2}"#,
            r#"{"hunter2":{}}"#,
            "hunter2",
        ] {
            let error = parse(text).remove(0).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_unknown_method_can_be_answered() {
        let parsed = parse(r#"{"id":5,"dance":{}}"#);
        assert!(matches!(
            &parsed[0],
            Ok(Command {
                id: 5,
                request: Request::Unknown(_)
            })
        ));
    }

    #[test]
    fn deep_nesting_is_passed_over_without_recursion() {
        let deep = "[".repeat(30_000) + &"]".repeat(30_000);
        let text = format!(r#"{{"id":1,"publish":{{"channel":"a","data":{deep}}}}}"#);
        assert!(parse(&text)[0].is_ok());
    }
}
