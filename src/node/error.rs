//! Why a room can't be had, or somebody may not, and what whoever wanted it is told.

use std::fmt;

use crate::{
    close::{Close, CloseReason},
    id::NameError,
    protocol::{centrifugo::ErrorCode, token::TokenError},
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
    /// Its engine failed with a newcomer in hand, and so did those of its successors.
    Failing,
}

impl From<RoomError> for ErrorCode {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::TooMany { .. } => Self::LimitExceeded,
            RoomError::Broken | RoomError::Failing => Self::Internal,
        }
    }
}

impl From<RoomError> for Close {
    fn from(error: RoomError) -> Self {
        let reason = match error {
            RoomError::TooMany { .. } => CloseReason::Refused,
            RoomError::Broken | RoomError::Failing => CloseReason::Internal,
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
            Self::Failing => f.write_str("the room fails whenever it is entered"),
        }
    }
}

impl std::error::Error for RoomError {}

/// Why somebody may not do what he wants to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessError {
    /// His token was good, until its time was over.
    Expired,
    /// It proves nothing, or there is none where one is needed; with what to do.
    Unproven(String),
    /// A name can't be one.
    Name(NameError),
    /// He is known, and may not; with why.
    Forbidden(String),
    /// Nobody knows at present, for something fails that would be asked; with what. He may try again.
    Unavailable(String),
    /// He has as many connections as he may.
    UserLimit {
        /// The limit.
        connections_max: usize,
    },
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("the token has expired, get a new one"),
            Self::Unproven(detail) | Self::Forbidden(detail) | Self::Unavailable(detail) => {
                f.write_str(detail)
            }
            Self::Name(error) => error.fmt(f),
            Self::UserLimit { connections_max } => write!(
                f,
                "the user has {connections_max} connections (limits.connections_per_user), close one"
            ),
        }
    }
}

impl std::error::Error for AccessError {}

impl From<TokenError> for AccessError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::Expired,
            TokenError::Invalid(_) => Self::Unproven(error.to_string()),
        }
    }
}

impl From<NameError> for AccessError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl From<&AccessError> for ErrorCode {
    fn from(error: &AccessError) -> Self {
        match error {
            AccessError::Expired => Self::TokenExpired,
            AccessError::Name(_) => Self::BadRequest,
            AccessError::UserLimit { .. } => Self::LimitExceeded,
            AccessError::Unavailable(_) => Self::Internal,
            AccessError::Unproven(_) | AccessError::Forbidden(_) => Self::PermissionDenied,
        }
    }
}

impl From<AccessError> for Close {
    fn from(error: AccessError) -> Self {
        let reason = match error {
            AccessError::Expired => CloseReason::Expired,
            AccessError::Unproven(_) | AccessError::Name(_) => CloseReason::BadToken,
            AccessError::Forbidden(_) => CloseReason::PermissionDenied,
            // Of all ends, the one that lets a client come back.
            AccessError::Unavailable(_) => CloseReason::Internal,
            AccessError::UserLimit { .. } => CloseReason::UserLimit,
        };
        Self::new(reason, error.to_string())
    }
}

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
        assert_eq!(codes(RoomError::Failing), (3004, 1011));
    }
}
