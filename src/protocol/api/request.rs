//! What can be asked for: requests in which everything is as it must be.

use std::{borrow::Cow, sync::Arc};

use super::{ApiError, Pattern};
use crate::{
    id::{RoomName, UserId},
    protocol::centrifugo::ErrorCode,
    publication::Tags,
};

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

    pub(super) fn of(name: &str) -> Result<Self, ApiError> {
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
    /// What goes with it.
    pub tags: Option<Arc<Tags>>,
    /// Whether it is for those who are there now only.
    pub skips_history: bool,
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
