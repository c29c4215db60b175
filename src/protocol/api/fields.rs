//! The fields that each request has in JSON, and what is said about one that is not as it must be.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    ApiError, Pattern,
    request::{Connections, Goodbye, History, Message, Payload},
};
use crate::{
    id::{RoomName, UserId},
    protocol::centrifugo::{ErrorCode, push::encoded_tags},
};

/// The longest key that may be sent for idempotency, in bytes. Two UUIDs and a word fit; it is
/// hashed, so a tenth or ten times as much would cost the same.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// The longest reason that fits into a close frame (RFC 6455, 5.5), in bytes.
const REASON_BYTES_MAX: usize = 123;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct NoFields {}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct InRoomFields<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
}

impl InRoomFields<'_> {
    pub(super) fn check(&self) -> Result<RoomName, ApiError> {
        room(&self.channel)
    }
}

/// What both ways to publish take.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct MessageFields<'a> {
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
    tags: Option<BTreeMap<String, String>>,
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

/// Text that is borrowed where it can be.
#[derive(Deserialize)]
pub(super) struct BorrowedText<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'a> MessageFields<'a> {
    pub(super) fn one_room(&self) -> Result<RoomName, ApiError> {
        if self.channels.is_some() {
            return Err(bad("publish takes one channel, broadcast takes channels"));
        }
        room(&self.channel)
    }

    pub(super) fn several_rooms(&self) -> Result<Vec<RoomName>, ApiError> {
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

    pub(super) fn message(self, message_bytes: usize) -> Result<Message<'a>, ApiError> {
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
        let tags = self.tags.as_ref().and_then(encoded_tags);
        let bytes = bytes + tags.as_ref().map_or(0, |tags| tags.encoded.len());
        if bytes > message_bytes {
            let detail = format!(
                "data and tags of {bytes} bytes together exceed {message_bytes} \
                 (limits.message_bytes)"
            );
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
            tags: tags.map(Arc::new),
            skips_history: self.skip_history,
            idempotency_key: (!key.is_empty()).then_some(key),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct HistoryFields<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    limit: i32,
    since: Option<SinceFields>,
    reverse: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
struct SinceFields {
    offset: u64,
    epoch: String,
}

impl HistoryFields<'_> {
    pub(super) fn check(self) -> Result<History, ApiError> {
        Ok(History {
            room: room(&self.channel)?,
            limit: self.limit,
            since: self.since.map(|since| (since.epoch, since.offset)),
            is_reverse: self.reverse,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct ChannelsFields<'a> {
    #[serde(borrow)]
    pattern: Cow<'a, str>,
}

impl ChannelsFields<'_> {
    pub(super) fn check(&self) -> Result<Pattern, ApiError> {
        Pattern::parse(&self.pattern).map_err(|unknown| {
            bad(format!(
                "pattern: {unknown:?} has no meaning here, only * and ? have one"
            ))
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct MembershipFields {
    user: String,
    client: Option<String>,
    channel: String,
}

impl MembershipFields {
    pub(super) fn check(self) -> Result<(Connections, RoomName), ApiError> {
        let room = room(&self.channel)?;
        Ok((connections(&self.user, self.client)?, room))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct DisconnectFields {
    user: String,
    client: Option<String>,
    disconnect: Option<GoodbyeFields>,
}

impl DisconnectFields {
    pub(super) fn check(self) -> Result<(Connections, Goodbye), ApiError> {
        let goodbye = self.disconnect.unwrap_or_default().check()?;
        Ok((connections(&self.user, self.client)?, goodbye))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
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

pub(super) fn bad(detail: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Method, Request, RequestError},
        *,
    };

    fn parse(method: Method, json: &str) -> Result<Request<'_>, RequestError> {
        Request::parse(method, json, 16)
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
            (Method::Publish, r#""a""#, "expected an object"),
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
                r#"{"channel":"a","data":1,"skip_history":1}"#,
                "expected a boolean",
            ),
            (
                Method::Publish,
                r#"{"channel":"a","data":1,"tags":{"a":5}}"#,
                "expected a string",
            ),
            (
                Method::Publish,
                r#"{"channel":"a","data":1,"tags":["a"]}"#,
                "expected a map",
            ),
            (
                Method::Publish,
                r#"{"channel":"a","data":"01234","tags":{"a":"bc"}}"#,
                "17 bytes together exceed 16",
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
}
