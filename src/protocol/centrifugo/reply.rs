//! What a client is answered: results and errors to text.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

use crate::{
    history::{Kept, Position},
    publication::{ClientInfo, PayloadKind, Publication},
};

use super::push;

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// Our fault; it may work the next time.
    Internal,
    /// There is no such room for this client.
    UnknownChannel,
    /// It may not.
    PermissionDenied,
    /// Nobody knows the method.
    MethodNotFound,
    /// It is in the room already.
    AlreadySubscribed,
    /// A limit is reached.
    LimitExceeded,
    /// The parameters are wrong.
    BadRequest,
    /// The server, or the room, does not do this.
    NotAvailable,
    /// The token was good, until its time was over: a new one is wanted.
    TokenExpired,
    /// It asks for more in a while than it may.
    TooManyRequests,
    /// The position is of another epoch, or ahead of the present.
    UnrecoverablePosition,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Internal => 100,
            Self::UnknownChannel => 102,
            Self::PermissionDenied => 103,
            Self::MethodNotFound => 104,
            Self::AlreadySubscribed => 105,
            Self::LimitExceeded => 106,
            Self::BadRequest => 107,
            Self::NotAvailable => 108,
            Self::TokenExpired => 109,
            Self::TooManyRequests => 111,
            Self::UnrecoverablePosition => 112,
        }
    }

    /// What it says, with `detail` about what was wrong in particular.
    #[must_use]
    pub fn message(self, detail: &str) -> String {
        match detail {
            "" => self.text().to_owned(),
            detail => format!("{}: {detail}", self.text()),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Internal => "internal server error",
            Self::UnknownChannel => "unknown channel",
            Self::PermissionDenied => "permission denied",
            Self::MethodNotFound => "method not found",
            Self::AlreadySubscribed => "already subscribed",
            Self::LimitExceeded => "limit exceeded",
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::TokenExpired => "token expired",
            Self::TooManyRequests => "too many requests",
            Self::UnrecoverablePosition => "unrecoverable position",
        }
    }

    fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests)
    }
}

/// The result of `connect`.
#[derive(Debug, Serialize)]
pub struct Connected<'a> {
    /// This connection's own id.
    pub client: &'a str,
    /// The server's version.
    pub version: &'a str,
    /// Seconds between pings; none when the pings are WebSocket's own.
    #[serde(skip_serializing_if = "is_default")]
    pub ping: u64,
    /// Whether pings want an answer.
    #[serde(skip_serializing_if = "is_default")]
    pub pong: bool,
    /// The server's id.
    pub node: &'a str,
    /// When the connection ends without a new token.
    #[serde(flatten)]
    pub lifetime: Lifetime,
    /// Rooms that the server has put the client in, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subs: BTreeMap<&'a str, Subscribed<'a>>,
}

/// The result of `subscribe`.
#[derive(Debug, Default, Serialize)]
pub struct Subscribed<'a> {
    /// Whether the room has a history to recover from.
    #[serde(skip_serializing_if = "is_default")]
    pub recoverable: bool,
    /// Whether it has a position to speak of.
    #[serde(skip_serializing_if = "is_default")]
    pub positioned: bool,
    /// The life of the numbering.
    #[serde(skip_serializing_if = "is_default")]
    pub epoch: &'a str,
    /// Where the client stands: after what it asked for when that was recovered, else at the end.
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
    /// What it had missed.
    #[serde(skip_serializing_if = "is_default")]
    pub publications: Publications<'a>,
    /// Whether that is everything.
    #[serde(skip_serializing_if = "is_default")]
    pub recovered: bool,
    /// Whether it asked for it.
    #[serde(skip_serializing_if = "is_default")]
    pub was_recovering: bool,
    /// When it ends without a new token.
    #[serde(flatten)]
    pub lifetime: Lifetime,
}

/// When something ends, if it does.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Lifetime {
    /// Whether it does.
    #[serde(skip_serializing_if = "is_default")]
    pub expires: bool,
    /// In how many seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl: u32,
}

impl Lifetime {
    /// Of that many seconds, or without end.
    #[must_use]
    pub fn new(ttl_s: Option<u32>) -> Self {
        Self {
            expires: ttl_s.is_some(),
            ttl: ttl_s.unwrap_or_default(),
        }
    }
}

/// The result of `refresh`.
#[derive(Debug, Serialize)]
pub struct Refreshed<'a> {
    /// This connection's own id.
    pub client: &'a str,
    /// The server's version.
    pub version: &'a str,
    /// When the connection ends without a new token.
    #[serde(flatten)]
    pub lifetime: Lifetime,
}

/// The result of `rpc`: one JSON value, on one line.
#[derive(Debug, Serialize)]
pub struct RpcResult<'a> {
    /// What the method returned.
    pub data: &'a RawValue,
}

/// The result of `history`.
#[derive(Debug, Serialize)]
pub struct HistoryResult<'a> {
    /// What was published.
    pub publications: Publications<'a>,
    /// The life of the numbering.
    pub epoch: &'a str,
    /// Where the room stands.
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
}

impl<'a> HistoryResult<'a> {
    /// Of these, where the room stands at `position`.
    #[must_use]
    pub fn new(publications: &'a [Kept], position: &'a Position) -> Self {
        Self {
            publications: Publications(publications),
            epoch: position.epoch.as_str(),
            offset: position.offset,
        }
    }
}

/// The result of `presence_stats`.
#[derive(Debug, Serialize)]
pub struct PresenceStats {
    /// Connections.
    pub num_clients: usize,
    /// Different users.
    pub num_users: usize,
}

impl PresenceStats {
    /// Of a room with those in it.
    pub fn new<I: AsRef<ClientInfo>>(infos: &[I]) -> Self {
        let users: HashSet<_> = infos.iter().map(|info| &info.as_ref().user).collect();
        Self {
            num_clients: infos.len(),
            num_users: users.len(),
        }
    }
}

/// The result of `presence`.
#[derive(Debug)]
pub struct PresenceResult<'a, I>(pub &'a [I]);

impl<I: AsRef<ClientInfo>> Serialize for PresenceResult<'_, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct ByClient<'a, I>(&'a [I]);
        impl<I: AsRef<ClientInfo>> Serialize for ByClient<'_, I> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|info| {
                    let info = info.as_ref();
                    (&info.client, raw(&info.encoded))
                }))
            }
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("presence", &ByClient(self.0))?;
        map.end()
    }
}

/// Publications in a result.
#[derive(Debug, Default, Clone, Copy)]
pub struct Publications<'a>(pub &'a [Kept]);

impl PartialEq for Publications<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_empty() && other.0.is_empty()
    }
}

impl Serialize for Publications<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(shown))
    }
}

/// The replies to one frame, which share one frame.
#[derive(Debug, Default)]
pub struct Replies(Vec<u8>);

impl Replies {
    /// Adds the result of the command `id`, which asked for `method`.
    pub fn result(&mut self, id: u32, method: &str, result: &impl Serialize) {
        self.begin(id);
        self.0.push(b'"');
        self.0.extend_from_slice(method.as_bytes());
        self.0.extend_from_slice(b"\":");
        write_json(&mut self.0, result);
        self.0.push(b'}');
    }

    /// Adds the empty result of the command `id`, which asked for `method`.
    pub fn done(&mut self, id: u32, method: &str) {
        self.begin(id);
        for part in [b"\"", method.as_bytes(), b"\":{}}"] {
            self.0.extend_from_slice(part);
        }
    }

    /// Adds a refusal of the command `id`, with what was wrong in particular.
    pub fn error(&mut self, id: u32, code: ErrorCode, detail: &str) {
        let refusal = Refusal {
            code: code.code(),
            message: &code.message(detail),
            temporary: code.is_temporary(),
        };
        self.result(id, "error", &refusal);
    }

    /// The same with a code of the application's.
    pub fn failure(&mut self, id: u32, code: u32, message: &str) {
        let refusal = Refusal {
            code,
            message,
            temporary: false,
        };
        self.result(id, "error", &refusal);
    }

    /// Bytes of what was added.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Takes what was added, one reply a line; none when nothing was.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        (!self.0.is_empty()).then(|| std::mem::take(&mut self.0))
    }

    fn begin(&mut self, id: u32) {
        if !self.0.is_empty() {
            self.0.push(b'\n');
        }
        self.0.extend_from_slice(b"{\"id\":");
        self.0
            .extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        self.0.push(b',');
    }
}

#[derive(Serialize)]
struct Refusal<'a> {
    code: u32,
    message: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    temporary: bool,
}

/// Appends `value` as JSON.
pub(super) fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("our results have string keys and go to memory");
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn raw(json: &[u8]) -> &RawValue {
    serde_json::from_slice(json).expect("made by our own encoder")
}

/// One publication in a result. What came from a client was validated; if an embedder has published as
/// JSON what is none, that is `null` to those who look back, and no end to them.
fn shown(kept: &Kept) -> Box<RawValue> {
    let written = |publication: &Publication| {
        let mut json = Vec::new();
        push::write_publication(&mut json, publication, Some(kept.offset));
        RawValue::from_string(String::from_utf8(json).ok()?).ok()
    };
    written(&kept.publication).unwrap_or_else(|| {
        let null = Publication::new(PayloadKind::Json, Bytes::from_static(b"null"));
        written(&null).expect("our own words are JSON")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_share_a_frame_a_line_each() {
        let mut replies = Replies::default();
        replies.result(
            1,
            "presence_stats",
            &PresenceStats {
                num_clients: 0,
                num_users: 0,
            },
        );
        replies.error(2, ErrorCode::LimitExceeded, "128 rooms");
        replies.error(3, ErrorCode::Internal, "");
        replies.done(4, "publish");
        assert_eq!(
            String::from_utf8(replies.take().unwrap()).unwrap(),
            concat!(
                r#"{"id":1,"presence_stats":{"num_clients":0,"num_users":0}}"#,
                "\n",
                r#"{"id":2,"error":{"code":106,"message":"limit exceeded: 128 rooms"}}"#,
                "\n",
                r#"{"id":3,"error":{"code":100,"message":"internal server error","temporary":true}}"#,
                "\n",
                r#"{"id":4,"publish":{}}"#,
            )
        );
        assert!(replies.take().is_none());
    }

    #[test]
    fn zero_values_are_left_out() {
        let mut replies = Replies::default();
        replies.result(1, "subscribe", &Subscribed::default());
        assert_eq!(replies.take().unwrap(), br#"{"id":1,"subscribe":{}}"#);
    }
}
