//! Tokens: JSON Web Tokens (RFC 7519) that say whose a connection is, and which room it may be in.
//!
//! Only signatures are trusted, and only by algorithms that belong to a key that was configured: what
//! a token's header asks for chooses among those, and `none` is not one (RFC 8725, 3.1). The clock is
//! the caller's.

use std::fmt;

use serde_json::value::RawValue;

use crate::{
    config::SECRET_BYTES_MIN,
    id::{RoomName, UserId},
};

mod sign;
mod verify;

pub use self::{
    sign::{SignError, Signer},
    verify::{TokenError, Verifier},
};

/// The longest token, in bytes; one is verified before anything is known of who sent it.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// What a token is for. One for a room names it in its claim `channel`; it is never taken for one that
/// opens a connection, for whoever gave it out meant less.
#[derive(Debug, Clone)]
pub enum Token {
    /// A connection.
    Connection(ConnectionToken),
    /// A room.
    Subscription(SubscriptionToken),
}

/// What a connection token says.
#[derive(Debug, Clone)]
pub struct ConnectionToken {
    /// Whose connection it is.
    pub user: UserId,
    /// When it is no longer, in seconds since 1970.
    pub expires_s: Option<u64>,
    /// What others may know of the connection.
    pub info: Option<Box<RawValue>>,
    /// Rooms that the server puts the connection in.
    pub rooms: Vec<RoomName>,
}

/// What a subscription token says.
#[derive(Debug, Clone)]
pub struct SubscriptionToken {
    /// Who may be in the room.
    pub user: UserId,
    /// Which room.
    pub room: RoomName,
    /// When the right ends, in seconds since 1970.
    pub expires_s: Option<u64>,
    /// What others in the room may know of him.
    pub info: Option<Box<RawValue>>,
}

/// Why a key can't sign or check tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The secret is shorter than [`SECRET_BYTES_MIN`].
    ShortSecret {
        /// How long it is.
        bytes: usize,
    },
    /// The text is no public key in PEM.
    NotPem,
    /// The text is no private key in PEM, or not one that signs by what is known here.
    NotPrivatePem,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortSecret { bytes } => write!(
                f,
                "a secret of {bytes} bytes is below {SECRET_BYTES_MIN} (make one with openssl rand -hex 32)"
            ),
            Self::NotPem => f.write_str(
                "there is no public key of RSA, of an elliptic curve (P-256, P-384) or of Ed25519 \
                 in it (write it as PEM, from BEGIN PUBLIC KEY to END PUBLIC KEY)",
            ),
            Self::NotPrivatePem => f.write_str(
                "there is no private key of RSA, of an elliptic curve (P-256, P-384) or of Ed25519 \
                 in it (PKCS#8 without a password is read: openssl pkcs8 -topk8 -nocrypt -in KEY makes it)",
            ),
        }
    }
}

impl std::error::Error for KeyError {}

fn check_secret(secret: &str) -> Result<(), KeyError> {
    let bytes = secret.len();
    if bytes < SECRET_BYTES_MIN {
        return Err(KeyError::ShortSecret { bytes });
    }
    Ok(())
}
