//! What a user of the API is answered: results and errors to JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{history::Position, id::RoomName, protocol::centrifugo::ErrorCode};

/// The result of one request as JSON, or why there is none.
pub type Reply = Result<Vec<u8>, ApiError>;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// What was wrong in particular, and what to do.
    pub detail: String,
}

impl ApiError {
    /// A refusal of that kind, with what was wrong in particular.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }

    /// The HTTP status for those who asked for one (`X-Centrifugo-Error-Mode: transport`).
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self.code {
            ErrorCode::Internal => 500,
            ErrorCode::UnknownChannel | ErrorCode::MethodNotFound => 404,
            ErrorCode::TokenExpired => 401,
            ErrorCode::PermissionDenied => 403,
            ErrorCode::AlreadySubscribed => 409,
            ErrorCode::LimitExceeded | ErrorCode::TooManyRequests => 429,
            ErrorCode::BadRequest | ErrorCode::NotAvailable => 400,
            ErrorCode::UnrecoverablePosition => 416,
        }
    }

    /// `{"code":…,"message":…}`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            code: u32,
            message: &'a str,
        }
        json(&Body {
            code: self.code.code(),
            message: &self.code.message(&self.detail),
        })
    }
}

/// `{"result":…}` or `{"error":…}`.
#[must_use]
pub fn enveloped(reply: &Reply) -> Vec<u8> {
    keyed("result", reply)
}

/// The same in a batch, where a result stands under its method's name.
#[must_use]
pub fn keyed(method: &str, reply: &Reply) -> Vec<u8> {
    match reply {
        Ok(result) => [b"{\"", method.as_bytes(), b"\":", result, b"}"].concat(),
        Err(error) => [&b"{\"error\":"[..], &error.to_json(), b"}"].concat(),
    }
}

/// `{"<name>":[…]}`.
#[must_use]
pub fn list(name: &str, items: &[Vec<u8>]) -> Vec<u8> {
    let items = items.join(&b","[..]);
    [b"{\"", name.as_bytes(), b"\":[", &items, b"]}"].concat()
}

/// A result without anything in it.
#[must_use]
pub fn empty() -> Vec<u8> {
    b"{}".to_vec()
}

/// Where a publication stands, if it has a place in its room's history.
#[must_use]
pub fn published(position: Option<&Position>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Published<'a> {
        offset: u64,
        epoch: &'a str,
    }
    position.map_or_else(empty, |position| {
        json(&Published {
            offset: position.offset,
            epoch: position.epoch.as_str(),
        })
    })
}

/// Rooms and how many are in them.
#[must_use]
pub fn channels<'a>(rooms: impl Iterator<Item = (&'a RoomName, usize)>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Channel {
        num_clients: usize,
    }
    #[derive(Serialize)]
    struct Channels<'a> {
        channels: BTreeMap<&'a RoomName, Channel>,
    }
    let channels = rooms.map(|(name, num_clients)| (name, Channel { num_clients }));
    json(&Channels {
        channels: channels.collect(),
    })
}

/// A node in short.
#[derive(Debug, Serialize)]
pub struct NodeInfo<'a> {
    /// Unique for each start of a server.
    pub uid: &'a str,
    /// The same for every node of this program.
    pub name: &'a str,
    /// The program's.
    pub version: &'a str,
    /// Upgraded connections.
    pub num_clients: usize,
    /// Different users among them, not counting anonymous ones.
    pub num_users: usize,
    /// Memberships in rooms.
    pub num_subs: usize,
    /// Rooms.
    pub num_channels: usize,
    /// Seconds since the start.
    pub uptime: u64,
}

/// The nodes that there are: one.
#[must_use]
pub fn info(node: &NodeInfo<'_>) -> Vec<u8> {
    list("nodes", &[json(node)])
}

/// Any other result.
///
/// # Panics
/// When it has keys that are not text; those of this protocol are.
pub fn json(result: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(result).expect("our results have string keys and go to memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_a_result_or_an_error() {
        assert_eq!(enveloped(&Ok(empty())), br#"{"result":{}}"#);
        let error = Err(ApiError::new(
            ErrorCode::BadRequest,
            "channel is \"missing\"",
        ));
        assert_eq!(
            String::from_utf8(keyed("publish", &error)).unwrap(),
            r#"{"error":{"code":107,"message":"bad request: channel is \"missing\""}}"#
        );
        assert_eq!(
            list("replies", &[empty(), empty()]),
            br#"{"replies":[{},{}]}"#
        );
    }
}
