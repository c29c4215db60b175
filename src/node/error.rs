//! Why a room can't be had, and what whoever wanted it is told.

use std::fmt;

use crate::{
    close::{Close, CloseReason},
    protocol::centrifugo::ErrorCode,
};

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

impl From<RoomError> for Close {
    fn from(error: RoomError) -> Self {
        let reason = match error {
            RoomError::TooMany { .. } => CloseReason::Refused,
            RoomError::Broken => CloseReason::Internal,
        };
        Self::new(reason, error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_ends_a_session_for_good_and_a_failure_of_ours_until_it_comes_back() {
        let codes = |error: RoomError| {
            let reason = Close::from(error).reason;
            (reason.centrifugo_code(), reason.plain_code())
        };
        assert_eq!(codes(RoomError::TooMany { rooms_max: 1 }), (3505, 1008));
        assert_eq!(codes(RoomError::Broken), (3004, 1011));
    }
}
