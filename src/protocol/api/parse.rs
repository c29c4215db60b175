//! From JSON to requests: one, a batch, or one a line; checked whole before anything is done.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

use super::{
    ApiError, Method, Request,
    fields::{
        BorrowedText, ChannelsFields, DisconnectFields, HistoryFields, InRoomFields,
        MembershipFields, MessageFields, NoFields, bad,
    },
};
use crate::{id::RoomName, protocol::centrifugo::ErrorCode};

/// Why something is not a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// It is not JSON at all; what is wrong, and where.
    NotJson(String),
    /// It is JSON and can't be carried out.
    Refused(ApiError),
}

impl From<ApiError> for RequestError {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl<'a> Request<'a> {
    /// Reads the parameters of `method`, for a server that takes messages of at most
    /// `message_bytes`. No text at all stands for no parameters.
    ///
    /// # Errors
    /// [`RequestError`], for the first thing that is wrong.
    pub fn parse(
        method: Method,
        json: &'a str,
        message_bytes: usize,
    ) -> Result<Self, RequestError> {
        let json = if json.trim().is_empty() { "{}" } else { json };
        Ok(match method {
            Method::Publish => {
                let fields: MessageFields<'a> = read(json)?;
                let room = fields.one_room()?;
                Self::Publish(room, fields.message(message_bytes)?)
            }
            Method::Broadcast => {
                let fields: MessageFields<'a> = read(json)?;
                let rooms = fields.several_rooms()?;
                Self::Broadcast(rooms, fields.message(message_bytes)?)
            }
            Method::Presence => Self::Presence(in_room(json)?),
            Method::PresenceStats => Self::PresenceStats(in_room(json)?),
            Method::History => Self::History(read::<HistoryFields<'a>>(json)?.check()?),
            Method::HistoryRemove => Self::HistoryRemove(in_room(json)?),
            Method::Channels => {
                let fields: ChannelsFields<'a> = read(json)?;
                Self::Channels(fields.check()?)
            }
            Method::Info => {
                read::<NoFields>(json)?;
                Self::Info
            }
            Method::Subscribe => {
                let fields: MembershipFields = read(json)?;
                let (connections, room) = fields.check()?;
                if !room.admits(&connections.user) {
                    let detail = format!("room {room} belongs to the users named behind its #");
                    return Err(ApiError::new(ErrorCode::PermissionDenied, detail).into());
                }
                Self::Subscribe(connections, room)
            }
            Method::Unsubscribe => {
                let fields: MembershipFields = read(json)?;
                let (connections, room) = fields.check()?;
                Self::Unsubscribe(connections, room)
            }
            Method::Disconnect => {
                let fields: DisconnectFields = read(json)?;
                let (connections, goodbye) = fields.check()?;
                Self::Disconnect(connections, goodbye)
            }
        })
    }

    /// Reads the commands of a `batch`: each an object with one method's name and its parameters.
    ///
    /// # Errors
    /// [`RequestError`], for the first thing that is wrong with any of them.
    pub fn parse_batch(
        json: &'a str,
        message_bytes: usize,
    ) -> Result<Vec<(Method, Self)>, RequestError> {
        let batch: BatchFields<'a> = read(json)?;
        let commands = batch.commands.iter().enumerate();
        commands
            .map(|(index, Single(name, parameters))| {
                let command = Method::of(name)
                    .map_err(RequestError::from)
                    .and_then(|method| {
                        let request = Self::parse(method, parameters.get(), message_bytes)?;
                        Ok((method, request))
                    });
                command.map_err(|error| error.within(&format!("commands[{index}]")))
            })
            .collect()
    }

    /// Reads commands of the older form, one a line: `{"method":…,"params":{…}}`.
    ///
    /// # Errors
    /// [`RequestError`], for the first thing that is wrong with any of them.
    pub fn parse_lines(
        text: &'a str,
        message_bytes: usize,
    ) -> Result<Vec<(Method, Self)>, RequestError> {
        let lines = text.trim_end().split('\n').enumerate();
        lines
            .map(|(index, line)| {
                let command = read::<LineFields<'a>>(line).and_then(|fields| {
                    let method = Method::of(&fields.method)?;
                    let parameters = fields.params.map_or("{}", RawValue::get);
                    Ok((method, Self::parse(method, parameters, message_bytes)?))
                });
                command.map_err(|error| error.within(&format!("line {}", index + 1)))
            })
            .collect()
    }
}

impl RequestError {
    /// The same, of a part of the whole.
    fn within(self, part: &str) -> Self {
        match self {
            Self::NotJson(detail) => Self::NotJson(format!("{part}: {detail}")),
            Self::Refused(ApiError { code, detail }) => {
                Self::Refused(ApiError::new(code, format!("{part}: {detail}")))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct BatchFields<'a> {
    #[serde(borrow)]
    commands: Vec<Single<'a>>,
    /// Allows any order, so theirs will do.
    #[serde(default, rename = "parallel")]
    _parallel: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct LineFields<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// An object with one key. By hand, because a map would take the last of two that are equal.
struct Single<'a>(Cow<'a, str>, &'a RawValue);

impl<'de: 'a, 'a> Deserialize<'de> for Single<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;
        impl<'de> Visitor<'de> for OneKey {
            type Value = Single<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one method and its parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let none = || de::Error::custom("a command without a method");
                let BorrowedText(name) = map.next_key()?.ok_or_else(none)?;
                let parameters = map.next_value()?;
                match map.next_key::<BorrowedText<'de>>()? {
                    None => Ok(Single(name, parameters)),
                    Some(_) => Err(de::Error::custom("two methods in one command")),
                }
            }
        }
        deserializer.deserialize_map(OneKey)
    }
}

fn in_room(json: &str) -> Result<RoomName, RequestError> {
    Ok(read::<InRoomFields<'_>>(json)?.check()?)
}

/// Reads one object. What it says about a fault may quote what was sent: it goes back to who sent
/// it, and nowhere else.
fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, RequestError> {
    // Derived code takes an array of the fields' values as well.
    let is_array = json.trim_start().starts_with('[');
    match serde_json::from_str::<T>(json) {
        Ok(read) if !is_array => Ok(read),
        Err(error) if error.classify() != Category::Data => {
            Err(RequestError::NotJson(error.to_string()))
        }
        Err(error) if !is_array => Err(bad(error.to_string()).into()),
        Ok(_) | Err(_) => Err(bad("an array, must be an object").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(error: RequestError) -> String {
        match error {
            RequestError::NotJson(detail) => detail,
            RequestError::Refused(error) => error.detail,
        }
    }

    #[test]
    fn what_is_no_json_is_told_from_what_makes_no_sense() {
        for json in [
            "{",
            "x",
            "{} {}",
            r#"{"channel":"a","data":}"#,
            "{\"channel\":\"\n\"}",
        ] {
            let error = Request::parse(Method::Publish, json, 16).unwrap_err();
            assert!(
                matches!(error, RequestError::NotJson(_)),
                "{json}: {error:?}"
            );
            assert!(detail(error).contains(" column "), "{json}");
        }
    }

    #[test]
    fn a_batch_is_good_in_all_its_commands_or_refused() {
        let names = |json: &'static str| -> Result<Vec<_>, RequestError> {
            let commands = Request::parse_batch(json, 16)?;
            Ok(commands
                .iter()
                .map(|(method, _)| method.name())
                .collect::<Vec<_>>())
        };
        let good =
            r#"{"parallel":true,"commands":[{"publish":{"channel":"a","data":1}},{"info":{}}]}"#;
        assert_eq!(names(good).unwrap(), ["publish", "info"]);
        for (json, said) in [
            (
                r#"{"commands":[{"info":{}},{"publish":{"channel":"a"}}]}"#,
                "commands[1]: data",
            ),
            (
                r#"{"commands":[{"dance":{}}]}"#,
                "commands[0]: \"dance\" is none",
            ),
            (
                r#"{"commands":[{"batch":{}}]}"#,
                "commands[0]: \"batch\" is none",
            ),
            (r#"{"commands":[{"info":{},"info":{}}]}"#, "two methods"),
            (r#"{"commands":[{}]}"#, "without a method"),
            (r#"{"commands":[[]]}"#, "expected an object"),
            ("{}", "missing field `commands`"),
        ] {
            let error = names(json).unwrap_err();
            let detail = detail(error);
            assert!(detail.contains(said), "{json}: {detail}");
        }
    }

    #[test]
    fn older_commands_stand_on_lines() {
        let text =
            "{\"method\":\"info\"}\n{\"method\":\"presence\",\"params\":{\"channel\":\"a\"}}\n";
        let commands = Request::parse_lines(text, 16).unwrap();
        let names: Vec<_> = commands.iter().map(|(method, _)| method.name()).collect();
        assert_eq!(names, ["info", "presence"]);
        let error = Request::parse_lines("{\"method\":\"info\"}\n\n{}", 16).unwrap_err();
        assert!(detail(error).starts_with("line 2: "));
    }
}
