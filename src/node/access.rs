//! Who may connect, as whom and for how long; and who may be in which room.

use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{error::AccessError, quota::Share};
use crate::{
    config::{Config, ConfigError, SubscribeRight},
    id::{RoomName, UserId},
    protocol::{
        api::on_one_line,
        token::{Token, Verifier},
    },
};

/// What whoever brings a token is told where none can be checked.
pub const NO_KEYS: &str = "this server has nothing to check a token by (tokens.hmac_secret)";

/// What decides it, made once from the configuration.
#[derive(Debug)]
pub struct Access {
    /// None when there is nothing to check tokens by.
    verifier: Option<Verifier>,
    is_anonymous_allowed: bool,
}

/// What a peer brings to say who it is. An empty text is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// A token.
    pub token: &'a str,
    /// A name that it gives itself.
    pub uid: &'a str,
}

/// Who a connection is.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Whose connection it is.
    pub user: UserId,
    /// What others may know of it besides: one JSON value, on one line.
    pub info: Option<Box<str>>,
    /// When it ends, unless a new token comes.
    pub expiry: Option<Expiry>,
    /// Rooms that the server puts it in, the user's own among them.
    pub rooms: Vec<RoomName>,
    /// Its place among the user's connections, until dropped.
    pub place: Option<Arc<Share<UserId>>>,
}

impl Identity {
    /// That user, without end, in the room of his own.
    #[must_use]
    pub fn of(user: UserId) -> Self {
        Self {
            rooms: user.personal_room().into_iter().collect(),
            user,
            ..Self::default()
        }
    }
}

/// The right to be in a room.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// What others in the room may know of its holder: one JSON value, on one line.
    pub info: Option<Box<str>>,
    /// When it ends, unless a new token comes.
    pub expiry: Option<Expiry>,
}

/// When something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// By the clock that nobody sets.
    pub at: Instant,
    /// In how many seconds from now that was, when it was learnt.
    pub ttl_s: u32,
}

impl Access {
    /// As `config` says, whose key file is read.
    ///
    /// # Errors
    /// [`ConfigError`], when the keys can't be used.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let tokens = &config.tokens;
        let refuse = |key: &str, problem: String| ConfigError::Invalid {
            keys: vec![key.to_owned()],
            origin: None,
            problem,
            remedy: "name a file with a public key in PEM".to_owned(),
        };
        const FILE: &str = "tokens.public_key_file";
        let public_key = match &tokens.public_key_file {
            None => None,
            Some(path) => Some(fs::read_to_string(path).map_err(|error| {
                refuse(
                    FILE,
                    format!("{FILE} {} can't be read: {error}", path.display()),
                )
            })?),
        };
        let secret = tokens.hmac_secret.as_ref().map(|secret| secret.reveal());
        let verifier = Verifier::new(secret, public_key.as_deref())
            .map_err(|error| refuse(FILE, format!("{FILE}: {error}")))?;
        Ok(Self {
            verifier: tokens.is_set().then_some(verifier),
            is_anonymous_allowed: config.anonymous(),
        })
    }

    /// Whether there is anything to check a token by.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        self.verifier.is_some()
    }

    /// Who that is.
    ///
    /// # Errors
    /// [`AccessError`], when he may not connect.
    pub fn identify(&self, credentials: Credentials<'_>) -> Result<Identity, AccessError> {
        let Credentials { token, uid } = credentials;
        if token.is_empty() {
            return self.identify_by_name(uid);
        }
        let mut token = self.verifier()?.connection(token, now_s())?;
        for room in &token.rooms {
            check_name(&token.user, room)?;
        }
        token.rooms.extend(token.user.personal_room());
        Ok(Identity {
            user: token.user,
            info: token.info.as_deref().map(shown),
            expiry: token.expires_s.and_then(Expiry::new),
            rooms: token.rooms,
            place: None,
        })
    }

    /// Who that is, who comes for one room only, and his right to it. The token may be for a
    /// connection, or for that room.
    ///
    /// # Errors
    /// [`AccessError`], when he may not connect, or not be there.
    pub fn admit(
        &self,
        credentials: Credentials<'_>,
        room: &RoomName,
        right: SubscribeRight,
    ) -> Result<(Identity, Grant), AccessError> {
        if let (false, Some(verifier)) = (credentials.token.is_empty(), &self.verifier)
            && let Token::Subscription(token) = verifier.token(credentials.token, now_s())?
        {
            let grant = self.grant(&token.user, room, right, credentials.token)?;
            // It opens that room and nothing else, not even what is said to the user.
            let identity = Identity {
                user: token.user,
                expiry: grant.expiry,
                ..Identity::default()
            };
            return Ok((identity, grant));
        }
        let identity = self.identify(credentials)?;
        check_right(&identity.user, room, right)?;
        Ok((identity, Grant::default()))
    }

    /// The right of `user` to be in `room`, by a subscription token or by what the room allows when
    /// that is empty.
    ///
    /// # Errors
    /// [`AccessError`], when he has none.
    pub fn grant(
        &self,
        user: &UserId,
        room: &RoomName,
        right: SubscribeRight,
        token: &str,
    ) -> Result<Grant, AccessError> {
        if token.is_empty() {
            check_right(user, room, right)?;
            return Ok(Grant::default());
        }
        let token = self.verifier()?.subscription(token, now_s())?;
        if token.user != *user || token.room != *room {
            let detail = "the token is for another user, or for another room";
            return Err(AccessError::Forbidden(detail.to_owned()));
        }
        check_name(user, room)?;
        if right == SubscribeRight::Nobody {
            return Err(by_the_server_only(room));
        }
        Ok(Grant {
            info: token.info.as_deref().map(shown),
            expiry: token.expires_s.and_then(Expiry::new),
        })
    }

    fn verifier(&self) -> Result<&Verifier, AccessError> {
        let verifier = self.verifier.as_ref();
        verifier.ok_or_else(|| AccessError::Unproven(NO_KEYS.to_owned()))
    }

    fn identify_by_name(&self, uid: &str) -> Result<Identity, AccessError> {
        let user = UserId::parse(uid)?;
        if !self.is_anonymous_allowed {
            let detail = "this server lets nobody in without a token, get one";
            return Err(AccessError::Unproven(detail.to_owned()));
        }
        // Where some prove who they are, nobody may take their names without.
        if !user.is_anonymous() && self.has_tokens() {
            let detail = "this server takes names from tokens: leave uid out, or bring a token";
            return Err(AccessError::Unproven(detail.to_owned()));
        }
        Ok(Identity::of(user))
    }
}

/// Whether `user` may be in `room` without a token.
fn check_right(user: &UserId, room: &RoomName, right: SubscribeRight) -> Result<(), AccessError> {
    check_name(user, room)?;
    match right {
        SubscribeRight::Anyone => Ok(()),
        SubscribeRight::Users if !user.is_anonymous() => Ok(()),
        SubscribeRight::Users => {
            let detail = format!("room {room} is for users who have a name");
            Err(AccessError::Forbidden(detail))
        }
        SubscribeRight::Token => {
            let detail = format!("room {room} needs a subscription token");
            Err(AccessError::Forbidden(detail))
        }
        SubscribeRight::Nobody => Err(by_the_server_only(room)),
    }
}

pub(super) fn check_name(user: &UserId, room: &RoomName) -> Result<(), AccessError> {
    if room.admits(user) {
        return Ok(());
    }
    let detail = format!("room {room} belongs to the users named behind its #");
    Err(AccessError::Forbidden(detail))
}

fn by_the_server_only(room: &RoomName) -> AccessError {
    AccessError::Forbidden(format!("only the server puts anybody in room {room}"))
}

impl Expiry {
    /// At `expires_s`, in seconds since 1970; none when that is more than 136 years away, which the
    /// protocol has no number for.
    fn new(expires_s: u64) -> Option<Self> {
        let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(expires_s))?;
        let ttl = expires
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        Some(Self {
            at: Instant::now().checked_add(ttl)?,
            // Rounded down: who brings a new one in time must not be late.
            ttl_s: u32::try_from(ttl.as_secs().max(1)).ok()?,
        })
    }
}

/// The JSON of a token, without the line breaks that it may have between its parts: they would end
/// the line that it is shown in.
fn shown(info: &RawValue) -> Box<str> {
    on_one_line(info.get()).into()
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
