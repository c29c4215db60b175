//! Why a room can't be had, and what whoever wanted it is told.

use std::fmt;

use crate::protocol::centrifugo::ErrorCode;

/// Why a room can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomError {
    /// There are as many rooms as may be.
    TooMany {
        /// The limit.
        rooms_max: usize,
    },
    /// Its engine failed with a batch in hand. Nobody knows what became of that.
    Broken,
}

impl From<RoomError> for ErrorCode {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::TooMany { .. } => Self::LimitExceeded,
            RoomError::Broken => Self::Internal,
        }
    }
}

impl fmt::Display for RoomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { rooms_max } => write!(
                f,
                "the server has all {rooms_max} rooms that it may have (limits.rooms)"
            ),
            Self::Broken => f.write_str("the room failed, and what was published may be lost"),
        }
    }
}

impl std::error::Error for RoomError {}
