//! The options of a room: the part of the configuration that the fan-out goes by. Without the server
//! there is no other, and this file is all of [`config`](self).

use std::time::Duration;

#[cfg(feature = "server")]
use serde::{Deserialize, Serialize};

const MIB: usize = 1024 * 1024;

/// The options of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "server",
    derive(Serialize, Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RoomConfig {
    /// Publications that history keeps; 0 turns history, offsets and recovery off.
    pub history_size: usize,
    /// How long history keeps a publication.
    #[cfg_attr(feature = "server", serde(with = "super::units::duration"))]
    pub history_ttl: Duration,
    /// What history keeps at most, in bytes of payload.
    #[cfg_attr(feature = "server", serde(with = "super::units::size"))]
    pub history_bytes: usize,
    /// Whether a room that nobody is in goes with its history when there are as many rooms as may be
    /// and somebody wants another.
    pub history_gives_way: bool,
    /// Publications that are recovered at once; more than this missed is "not recovered".
    pub recovery_max: usize,
    /// Who may be in it, and ask what was published and who is there.
    pub subscribe: SubscribeRight,
    /// Which clients may publish in it; the API and the server always may.
    pub publish: PublishRight,
    /// Whether members may ask who is there.
    pub presence: bool,
    /// Whether members who want to are told who comes and goes.
    pub join_leave: bool,
    /// What happens to a client that falls behind by more than the lag limit.
    pub slow: SlowPolicy,
    /// The lag limit in bytes of encoded frames.
    #[cfg_attr(feature = "server", serde(with = "super::units::size"))]
    pub lag_bytes: usize,
    /// The lag limit in frames.
    pub lag_messages: usize,
}

/// Who may be in a room. Whoever the server puts there may in any case; and a room with a `#` in its
/// name belongs to the users named after it, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "server",
    derive(Serialize, Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum SubscribeRight {
    /// Whoever may connect.
    Anyone,
    /// Those who have a name.
    Users,
    /// Those who bring a subscription token for it.
    Token,
    /// Nobody by himself.
    Nobody,
}

/// Which clients may publish in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "server",
    derive(Serialize, Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum PublishRight {
    /// Those who are in it, and those who might be.
    Anyone,
    /// The same, if they have a name.
    Users,
    /// Those who are in it.
    Members,
    /// None.
    Nobody,
}

/// What happens to a client that falls behind its room by more than the lag limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "server",
    derive(Serialize, Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum SlowPolicy {
    /// It is closed as a slow consumer.
    Disconnect,
    /// It goes on at the oldest frame that the room still keeps; what it missed is counted, and it is told.
    Skip,
    /// It goes on at the newest frame; what it missed is counted, and it is told.
    Latest,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            history_size: 100,
            history_ttl: Duration::from_secs(600),
            history_bytes: MIB,
            history_gives_way: true,
            recovery_max: 300,
            subscribe: SubscribeRight::Anyone,
            publish: PublishRight::Anyone,
            presence: true,
            join_leave: true,
            slow: SlowPolicy::Disconnect,
            lag_bytes: MIB,
            lag_messages: 4096,
        }
    }
}
