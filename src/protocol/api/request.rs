//! What a user of the API asks for: JSON to requests, checked whole before anything is done.

use std::{borrow::Cow, fmt};

use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

use super::{ApiError, Pattern};
use crate::{
    id::{RoomName, UserId},
    protocol::centrifugo::ErrorCode,
};

/// The longest key that may be sent for idempotency, in bytes. Two UUIDs and a word fit; it is
/// hashed, so a tenth or ten times as much would cost the same.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// The longest reason that fits into a close frame (RFC 6455, 5.5), in bytes.
const REASON_BYTES_MAX: usize = 123;

/// What can be asked for, one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A message for one room.
    Publish,
    /// The same message for several rooms.
    Broadcast,
    /// Who is in a room.
    Presence,
    /// How many are in a room.
    PresenceStats,
    /// What was published in a room lately.
    History,
    /// To forget that.
    HistoryRemove,
    /// Which rooms have members.
    Channels,
    /// What the server is.
    Info,
    /// To put a user's connections into a room.
    Subscribe,
    /// To take them out of it.
    Unsubscribe,
    /// To send them away.
    Disconnect,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Publish,
        Self::Broadcast,
        Self::Presence,
        Self::PresenceStats,
        Self::History,
        Self::HistoryRemove,
        Self::Channels,
        Self::Info,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Disconnect,
    ];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Broadcast => "broadcast",
            Self::Presence => "presence",
            Self::PresenceStats => "presence_stats",
            Self::History => "history",
            Self::HistoryRemove => "history_remove",
            Self::Channels => "channels",
            Self::Info => "info",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Disconnect => "disconnect",
        }
    }

    fn of(name: &str) -> Result<Self, ApiError> {
        Self::ALL
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                let detail = format!("{name:?} is none, must be one of {known}");
                ApiError::new(ErrorCode::MethodNotFound, detail)
            })
    }
}

/// A request in which everything is as it must be.
#[derive(Debug)]
pub enum Request<'a> {
    /// A message for one room.
    Publish(RoomName, Message<'a>),
    /// The same message for several rooms.
    Broadcast(Vec<RoomName>, Message<'a>),
    /// Who is in a room.
    Presence(RoomName),
    /// How many are in a room.
    PresenceStats(RoomName),
    /// What was published in a room lately.
    History(History),
    /// To forget that.
    HistoryRemove(RoomName),
    /// Which rooms have members.
    Channels(Pattern),
    /// What the server is.
    Info,
    /// To put connections into a room.
    Subscribe(Connections, RoomName),
    /// To take them out of it.
    Unsubscribe(Connections, RoomName),
    /// To send them away.
    Disconnect(Connections, Goodbye),
}

/// Whose connections a request is about.
#[derive(Debug)]
pub struct Connections {
    /// All of this user's,
    pub user: UserId,
    /// or the one of them that has this id.
    pub client: Option<String>,
}

/// What connections that are sent away are told, where it is not what such are always told.
#[derive(Debug, Default)]
pub struct Goodbye {
    /// The code, 3000 to 4999.
    pub code: Option<u16>,
    /// The reason in words.
    pub reason: String,
}

/// What is to be published.
#[derive(Debug)]
pub struct Message<'a> {
    /// It.
    pub payload: Payload<'a>,
    /// Under the same key a room gets it once.
    pub idempotency_key: Option<Cow<'a, str>>,
}

/// The application's part of a message.
#[derive(Debug)]
pub enum Payload<'a> {
    /// `data`: JSON on one line, as it was written but for line ends between its tokens.
    Json(Cow<'a, str>),
    /// `b64data`, decoded.
    Binary(Vec<u8>),
}

/// Which part of a room's history.
#[derive(Debug)]
pub struct History {
    /// The room.
    pub room: RoomName,
    /// How many publications; 0 for the position only, negative for all.
    pub limit: i32,
    /// From where: epoch and offset.
    pub since: Option<(String, u64)>,
    /// Newest first.
    pub is_reverse: bool,
}

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
                Self::Channels(pattern(&fields.pattern)?)
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
                let goodbye = fields.disconnect.unwrap_or_default().check()?;
                Self::Disconnect(connections(&fields.user, fields.client)?, goodbye)
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
#[serde(deny_unknown_fields)]
struct NoFields {}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct InRoomFields<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
}

/// What both ways to publish take.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MessageFields<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    channels: Option<Vec<String>>,
    #[serde(borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present_text")]
    b64data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    idempotency_key: Cow<'a, str>,
    skip_history: bool,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
}

/// What is there is some value: an `Option` by itself would take `null` for nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Text that is borrowed where it can be, which an `Option` by itself never is.
fn present_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'de, str>>, D::Error> {
    BorrowedText::deserialize(deserializer).map(|BorrowedText(text)| Some(text))
}

#[derive(Deserialize)]
struct BorrowedText<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> MessageFields<'a> {
    fn one_room(&self) -> Result<RoomName, ApiError> {
        if self.channels.is_some() {
            return Err(bad("publish takes one channel, broadcast takes channels"));
        }
        room(&self.channel)
    }

    fn several_rooms(&self) -> Result<Vec<RoomName>, ApiError> {
        let names = self.channels.as_deref().unwrap_or_default();
        if !self.channel.is_empty() {
            return Err(bad("broadcast takes channels, publish takes one channel"));
        }
        if names.is_empty() {
            return Err(bad("channels is missing or empty, must be names of rooms"));
        }
        let parse = |(index, name): (usize, &String)| {
            RoomName::parse(name).map_err(|error| bad(format!("channels[{index}]: {error}")))
        };
        names.iter().enumerate().map(parse).collect()
    }

    fn message(self, message_bytes: usize) -> Result<Message<'a>, ApiError> {
        if self.skip_history {
            let detail = "this server can't leave a publication out of its room's history: leave \
                          skip_history out, or publish in a room whose history_size is 0";
            return Err(ApiError::new(ErrorCode::NotAvailable, detail));
        }
        if self.tags.is_some() {
            let detail = "this server carries no tags: leave them out, or put them into data";
            return Err(ApiError::new(ErrorCode::NotAvailable, detail));
        }
        let payload = match (self.data, self.b64data) {
            (Some(data), None) => Payload::Json(on_one_line(data.get())),
            (None, Some(text)) => Payload::Binary(decode(&text)?),
            (None, None) => return Err(bad("data is missing, must be a JSON value")),
            (Some(_), Some(_)) => return Err(bad("data and b64data exclude each other")),
        };
        let bytes = match &payload {
            Payload::Json(json) => json.len(),
            Payload::Binary(bytes) => bytes.len(),
        };
        if bytes > message_bytes {
            let detail =
                format!("data of {bytes} bytes exceeds {message_bytes} (limits.message_bytes)");
            return Err(bad(detail));
        }
        if self.idempotency_key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            let detail = format!(
                "idempotency_key of {} bytes exceeds {IDEMPOTENCY_KEY_BYTES_MAX}",
                self.idempotency_key.len()
            );
            return Err(bad(detail));
        }
        let key = self.idempotency_key;
        Ok(Message {
            payload,
            idempotency_key: (!key.is_empty()).then_some(key),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HistoryFields<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    limit: i32,
    since: Option<SinceFields>,
    reverse: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SinceFields {
    offset: u64,
    epoch: String,
}

impl HistoryFields<'_> {
    fn check(self) -> Result<History, ApiError> {
        Ok(History {
            room: room(&self.channel)?,
            limit: self.limit,
            since: self.since.map(|since| (since.epoch, since.offset)),
            is_reverse: self.reverse,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ChannelsFields<'a> {
    #[serde(borrow)]
    pattern: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MembershipFields {
    user: String,
    client: Option<String>,
    channel: String,
}

impl MembershipFields {
    fn check(self) -> Result<(Connections, RoomName), ApiError> {
        let room = room(&self.channel)?;
        Ok((connections(&self.user, self.client)?, room))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DisconnectFields {
    user: String,
    client: Option<String>,
    disconnect: Option<GoodbyeFields>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GoodbyeFields {
    code: u16,
    reason: String,
}

impl GoodbyeFields {
    fn check(self) -> Result<Goodbye, ApiError> {
        let Self { code, reason } = self;
        if !matches!(code, 0 | 3000..5000) {
            return Err(bad(format!(
                "disconnect.code of {code} must be 3000 to 4999"
            )));
        }
        if reason.len() > REASON_BYTES_MAX {
            let bytes = reason.len();
            let detail = format!("disconnect.reason of {bytes} bytes exceeds {REASON_BYTES_MAX}");
            return Err(bad(detail));
        }
        Ok(Goodbye {
            code: (code > 0).then_some(code),
            reason,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchFields<'a> {
    #[serde(borrow)]
    commands: Vec<Single<'a>>,
    /// Allows any order, so theirs will do.
    #[serde(default, rename = "parallel")]
    _parallel: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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
    let fields: InRoomFields<'_> = read(json)?;
    Ok(room(&fields.channel)?)
}

/// Of a user who has a name: the anonymous one is everybody who has none.
fn connections(user: &str, client: Option<String>) -> Result<Connections, ApiError> {
    if user.is_empty() {
        return Err(bad("user is missing or empty, must be the name of one"));
    }
    let user = UserId::parse(user).map_err(|error| bad(format!("user: {error}")))?;
    let client = client.filter(|client| !client.is_empty());
    Ok(Connections { user, client })
}

fn room(channel: &str) -> Result<RoomName, ApiError> {
    match channel {
        "" => Err(bad(
            "channel is missing or empty, must be the name of a room",
        )),
        _ => RoomName::parse(channel).map_err(|error| bad(format!("channel: {error}"))),
    }
}

fn pattern(text: &str) -> Result<Pattern, ApiError> {
    Pattern::parse(text).map_err(|unknown| {
        bad(format!(
            "pattern: {unknown:?} has no meaning here, only * and ? have one"
        ))
    })
}

fn decode(text: &str) -> Result<Vec<u8>, ApiError> {
    let decoded = BASE64.decode(text.as_bytes());
    decoded.map_err(|error| bad(format!("b64data is not base64 with padding: {error}")))
}

/// `json` on one line. A line end can stand only between its tokens, never inside of them; in a push
/// it would end the push, for what clients are told is one object a line.
#[must_use]
pub fn on_one_line(json: &str) -> Cow<'_, str> {
    match json.contains(['\n', '\r']) {
        false => Cow::Borrowed(json),
        true => Cow::Owned(json.replace(['\n', '\r'], " ")),
    }
}

fn bad(detail: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, detail)
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

    fn parse(method: Method, json: &str) -> Result<Request<'_>, RequestError> {
        Request::parse(method, json, 16)
    }

    fn detail(error: RequestError) -> String {
        match error {
            RequestError::NotJson(detail) => detail,
            RequestError::Refused(error) => error.detail,
        }
    }

    #[test]
    fn data_is_kept_as_it_was_written_but_on_one_line() {
        let data = |json| match parse(Method::Publish, json) {
            Ok(Request::Publish(
                _,
                Message {
                    payload: Payload::Json(data),
                    ..
                },
            )) => data,
            other => panic!("{other:?}"),
        };
        let written = data(r#"{"channel":"a","data":{"b":1.0, "a":2}}"#);
        assert!(matches!(written, Cow::Borrowed(r#"{"b":1.0, "a":2}"#)));
        let spread = data("{\"channel\":\"a\",\"data\":{\n\"a\":\r\n\"\\n\"}}");
        assert_eq!(spread, "{ \"a\":  \"\\n\"}");
        assert_eq!(data(r#"{"channel":"a","data":null}"#), "null");
    }

    #[test]
    fn binary_data_is_decoded() {
        let request = parse(Method::Publish, r#"{"channel":"a","b64data":"AP8="}"#);
        let Ok(Request::Publish(
            _,
            Message {
                payload: Payload::Binary(bytes),
                ..
            },
        )) = request
        else {
            panic!("{request:?}");
        };
        assert_eq!(bytes, [0, 255]);
    }

    #[test]
    fn every_refusal_says_what_is_wrong() {
        let too_long = format!(
            r#"{{"user":"a","disconnect":{{"reason":"{}"}}}}"#,
            "x".repeat(124)
        );
        for (method, json, said) in [
            (Method::Disconnect, &*too_long, "exceeds 123"),
            (Method::Publish, "", "channel is missing"),
            (Method::Publish, r#"{"channel":"a"}"#, "data is missing"),
            (Method::Publish, r#"{"channel":5}"#, "expected a string"),
            (Method::Publish, r#"["a"]"#, "must be an object"),
            (Method::Publish, r#"[]"#, "must be an object"),
            (Method::Publish, r#""a""#, "expected struct"),
            (
                Method::Publish,
                r#"{"chanel":"a"}"#,
                "unknown field `chanel`",
            ),
            (
                Method::Publish,
                r#"{"channel":"a","channel":"b"}"#,
                "duplicate field",
            ),
            (
                Method::Publish,
                r#"{"channels":["a"],"data":1}"#,
                "one channel",
            ),
            (
                Method::Publish,
                "{\"channel\":\"a\\n\",\"data\":1}",
                "control character",
            ),
            (
                Method::Publish,
                r#"{"channel":"a","b64data":"?"}"#,
                "base64",
            ),
            (
                Method::Publish,
                r#"{"channel":"a","data":1,"b64data":""}"#,
                "exclude",
            ),
            (
                Method::Publish,
                r#"{"channel":"a","data":"0123456789abcdef"}"#,
                "exceeds 16",
            ),
            (
                Method::Publish,
                r#"{"channel":"a","data":1,"skip_history":true}"#,
                "history_size",
            ),
            (
                Method::Publish,
                r#"{"channel":"a","data":1,"tags":{"a":"b"}}"#,
                "no tags",
            ),
            (Method::Broadcast, r#"{"data":1}"#, "channels is missing"),
            (
                Method::Broadcast,
                r#"{"channels":[],"data":1}"#,
                "channels is missing",
            ),
            (
                Method::Broadcast,
                r#"{"channels":["a",""],"data":1}"#,
                "channels[1]",
            ),
            (
                Method::Broadcast,
                r#"{"channel":"a","data":1}"#,
                "takes channels",
            ),
            (
                Method::History,
                r#"{"channel":"a","limit":"all"}"#,
                "expected i32",
            ),
            (
                Method::History,
                r#"{"channel":"a","since":{"offset":-1}}"#,
                "expected u64",
            ),
            (Method::Channels, r#"{"pattern":"[a]"}"#, "'['"),
            (Method::Info, r#"{"channel":"a"}"#, "unknown field"),
            (Method::Presence, "{}", "channel is missing"),
            (Method::Subscribe, r#"{"channel":"a"}"#, "user is missing"),
            (
                Method::Subscribe,
                r#"{"user":"a,b","channel":"a"}"#,
                "user: ",
            ),
            (
                Method::Subscribe,
                r##"{"user":"b","channel":"#a"}"##,
                "room #a belongs",
            ),
            (Method::Unsubscribe, r#"{"user":"b"}"#, "channel is missing"),
            (Method::Disconnect, r#"{"user":""}"#, "user is missing"),
            (
                Method::Disconnect,
                r#"{"user":"a","whitelist":[]}"#,
                "unknown field `whitelist`",
            ),
            (
                Method::Disconnect,
                r#"{"user":"a","disconnect":{"code":1000}}"#,
                "3000 to 4999",
            ),
        ] {
            match parse(method, json) {
                Err(RequestError::Refused(error)) => {
                    assert!(error.detail.contains(said), "{json}: {}", error.detail);
                }
                other => panic!("{json}: {other:?}"),
            }
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
            let error = parse(Method::Publish, json).unwrap_err();
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
