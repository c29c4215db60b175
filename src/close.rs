//! Why connections end: one list, and what each way in says for it.

use std::{borrow::Cow, fmt};

/// The most text that fits into a close frame beside its code, in bytes (RFC 6455, 5.5).
pub const CLOSE_TEXT_BYTES_MAX: usize = 123;

/// Why a connection ended. Every end is exactly one of these.
///
/// The codes are those of docs/protocol.md: 3000–3499 tell a Centrifugo client to come back,
/// 3500–3999 to stay away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent a close frame.
    PeerClosed,
    /// The peer's stream ended, or broke, without a close frame.
    PeerGone,
    /// The server is going down.
    Drain,
    /// Our fault.
    Internal,
    /// It did not read as fast as its rooms were spoken in.
    SlowConsumer,
    /// Nothing could be written for the whole write deadline.
    WriteTimeout,
    /// It did not answer a ping.
    NoPong,
    /// It brought a token that does not prove anything.
    BadToken,
    /// A frame or a command that its protocol does not allow.
    Malformed,
    /// A text message that is not UTF-8.
    NotUtf8,
    /// It did not say who it is in time.
    NoLogin,
    /// It asked for something that this server does not do.
    NotAvailable,
    /// It sent a message over the limit.
    TooBig,
    /// There was no room for it, such as when the node has all the rooms that it may have.
    Refused,
    /// An operator, or the application, sent it away.
    Kicked,
    /// Its token's time is over, and no new one came.
    Expired,
    /// It may not do what it did.
    PermissionDenied,
    /// It went on asking for more than it may.
    RateLimited,
    /// Its user has as many connections as he may.
    UserLimit,
}

impl CloseReason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 19] = [
        Self::PeerClosed,
        Self::PeerGone,
        Self::Drain,
        Self::Internal,
        Self::SlowConsumer,
        Self::WriteTimeout,
        Self::NoPong,
        Self::BadToken,
        Self::Malformed,
        Self::NotUtf8,
        Self::NoLogin,
        Self::NotAvailable,
        Self::TooBig,
        Self::Refused,
        Self::Kicked,
        Self::Expired,
        Self::PermissionDenied,
        Self::RateLimited,
        Self::UserLimit,
    ];

    /// What it is called in logs, in `/status` and as a metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::PeerGone => "peer_gone",
            Self::Drain => "drain",
            Self::Internal => "internal",
            Self::SlowConsumer => "slow_consumer",
            Self::WriteTimeout => "write_timeout",
            Self::NoPong => "no_pong",
            Self::BadToken => "bad_token",
            Self::Malformed => "malformed",
            Self::NotUtf8 => "not_utf8",
            Self::NoLogin => "no_login",
            Self::NotAvailable => "not_available",
            Self::TooBig => "too_big",
            Self::Refused => "refused",
            Self::Kicked => "kicked",
            Self::Expired => "expired",
            Self::PermissionDenied => "permission_denied",
            Self::RateLimited => "rate_limited",
            Self::UserLimit => "user_limit",
        }
    }

    /// What a peer is told in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::PeerClosed | Self::PeerGone => "closed",
            Self::Drain => "shutdown",
            Self::Internal => "internal error",
            Self::SlowConsumer => "slow",
            Self::WriteTimeout => "write error",
            Self::NoPong => "no pong",
            Self::BadToken => "invalid token",
            Self::Malformed => "bad request",
            Self::NotUtf8 => "invalid utf-8",
            Self::NoLogin => "stale",
            Self::NotAvailable => "not available",
            Self::TooBig => "message too big",
            Self::Refused => "limit exceeded",
            Self::Kicked => "force disconnect",
            Self::Expired => "connection expired",
            Self::PermissionDenied => "permission denied",
            Self::RateLimited => "too many requests",
            Self::UserLimit => "connection limit",
        }
    }

    /// The close code on the Centrifugo JSON way in.
    #[must_use]
    pub fn centrifugo_code(self) -> u16 {
        match self {
            Self::PeerClosed | Self::PeerGone => 3000,
            Self::Drain => 3001,
            Self::Internal => 3004,
            Self::Expired => 3005,
            Self::SlowConsumer => 3008,
            Self::WriteTimeout => 3009,
            Self::NoPong => 3012,
            Self::RateLimited => 3013,
            Self::BadToken => 3500,
            Self::Malformed | Self::NotUtf8 => 3501,
            Self::NoLogin => 3502,
            Self::NotAvailable => 3508,
            Self::TooBig => 1009,
            Self::Kicked => 3503,
            Self::UserLimit => 3504,
            Self::Refused => 3505,
            Self::PermissionDenied => 3507,
        }
    }

    /// The close code on the plain way in (RFC 6455, 7.4.1).
    #[must_use]
    pub fn plain_code(self) -> u16 {
        match self {
            Self::PeerClosed | Self::PeerGone => 1000,
            Self::Drain | Self::NoPong => 1001,
            Self::Malformed => 1002,
            Self::NotUtf8 => 1007,
            Self::BadToken
            | Self::NoLogin
            | Self::NotAvailable
            | Self::Refused
            | Self::Kicked
            | Self::Expired
            | Self::PermissionDenied
            | Self::RateLimited
            | Self::UserLimit => 1008,
            Self::TooBig => 1009,
            Self::Internal => 1011,
            Self::SlowConsumer | Self::WriteTimeout => 1013,
        }
    }
}

/// The end of a connection: the reason, and what exactly was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Which of the reasons.
    pub reason: CloseReason,
    /// The code to close with, if the reason's own is not wanted.
    pub code: Option<u16>,
    /// The value, the limit, the remedy; empty when the reason says it all. Never a payload.
    pub detail: Cow<'static, str>,
}

impl Close {
    /// An end for `reason`, with what was wrong in particular.
    pub fn new(reason: CloseReason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            code: None,
            detail: detail.into(),
        }
    }

    /// Sent away by the application, with a code and a text of its own.
    pub fn kicked(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason: CloseReason::Kicked,
            code: Some(code),
            detail: text.into(),
        }
    }

    /// The text for a close frame: the reason in words and the detail, cut to what fits.
    #[must_use]
    pub fn frame_text(&self) -> String {
        let mut text = self.to_string();
        text.truncate(text.floor_char_boundary(CLOSE_TEXT_BYTES_MAX));
        text
    }
}

impl From<CloseReason> for Close {
    fn from(reason: CloseReason) -> Self {
        Self::new(reason, "")
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code.is_some() {
            return f.write_str(&self.detail);
        }
        f.write_str(self.reason.text())?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_discriminant() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
        }
    }

    #[test]
    fn a_frame_text_is_cut_at_a_character() {
        let close = Close::new(CloseReason::Malformed, "é".repeat(100));
        let text = close.frame_text();
        assert!(
            text.len() <= CLOSE_TEXT_BYTES_MAX && text.len() > 120,
            "{}",
            text.len()
        );
        assert!(text.starts_with("bad request: é"));
    }
}
