//! `slabcast token`: makes a token, for those who have no back end that does.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::Args;
use serde_json::value::RawValue;
use slabcast::{
    config::{
        Config, ConfigError, Loaded,
        units::{format_duration, parse_duration},
    },
    id::{NameError, RoomName, UserId},
    protocol::token::{
        ConnectionToken, KeyError, SignError, Signer, SubscriptionToken, Token as Claims,
    },
};

use super::{EXIT_MISUSED, fail, say_result, settings::Sources, warn};

/// A hundred years. The protocol has no number for what is much longer.
const LIFETIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub(super) const EXAMPLES: &str = "\
Examples:
  export SLABCAST_TOKENS_HMAC_SECRET=$(openssl rand -hex 32)
  slabcast token --user ada                            who connects with it is ada, for an hour
  slabcast token --user ada --expires 24h --join news  and the server puts her into news
  slabcast token --user ada --room vip:backstage       lets ada into that room, where one is wanted
  slabcast token --user ada --private-key key.pem      for servers that have tokens.public_key_file

The secret is tokens.hmac_secret of the configuration that a server would start with. Prints the token
and nothing else. Whoever has it is that user until it expires: nothing takes it back.

Exits with 0, or with 2 when there is none, after saying why.";

/// What a token says, and by what it is signed.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// Whose it is; '' for somebody without a name
    #[arg(long, value_name = "NAME", value_parser = user)]
    user: UserId,

    /// When it ends: after so long, such as 90s, 30m or 12h, or never
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = lifetime)]
    expires: Lifetime,

    /// Make a subscription token for ROOM, for rooms that want one
    #[arg(long, value_name = "ROOM", value_parser = RoomName::parse, conflicts_with = "join")]
    room: Option<RoomName>,

    /// What others may know of the user besides, any JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    info: Option<Box<RawValue>>,

    /// Have the server put the connection into ROOM (repeat)
    #[arg(long, value_name = "ROOM", value_parser = RoomName::parse)]
    join: Vec<RoomName>,

    /// Sign by the private key in FILE (PEM), by RS256, ES256, ES384 or EdDSA, as the key is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "set"])]
    private_key: Option<PathBuf>,

    #[command(flatten)]
    sources: Sources,
}

/// How long a token is good for; none is for ever.
#[derive(Debug, Clone, Copy)]
struct Lifetime(Option<Duration>);

/// Why there is no token.
#[derive(Debug)]
enum TokenError {
    Config(ConfigError),
    /// Neither a secret nor a private key, and whether the server has a public one.
    NoKey {
        has_public_key: bool,
    },
    KeyFile {
        path: PathBuf,
        problem: String,
    },
    Secret(KeyError),
    /// A room that belongs to others.
    NotAdmitted(RoomName),
    Sign(SignError),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NoKey { has_public_key } => {
                f.write_str("there is nothing to sign with: tokens.hmac_secret is not set ")?;
                f.write_str(if *has_public_key {
                    "(sign with --private-key FILE, the other half of tokens.public_key_file)"
                } else {
                    "(make a secret with: export SLABCAST_TOKENS_HMAC_SECRET=$(openssl rand -hex 32), \
                     and start the server with the same; or name a file that has it with --config, or \
                     a key with --private-key)"
                })
            }
            Self::KeyFile { path, problem } => {
                write!(f, "--private-key {}: {problem}", path.display())
            }
            Self::Secret(error) => write!(f, "tokens.hmac_secret: {error}"),
            Self::NotAdmitted(room) => write!(
                f,
                "room {room} belongs to the users named behind its #, and the user is none of them \
                 (name another room, or another --user)"
            ),
            Self::Sign(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TokenError {}

impl From<ConfigError> for TokenError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<SignError> for TokenError {
    fn from(error: SignError) -> Self {
        Self::Sign(error)
    }
}

pub(super) fn run(token: Token) -> ExitCode {
    match make(token) {
        Ok(text) => say_result(format_args!("{text}\n"), ExitCode::SUCCESS),
        Err(error) => fail(error, EXIT_MISUSED),
    }
}

fn make(token: Token) -> Result<String, TokenError> {
    let Token {
        user,
        expires: Lifetime(lifetime),
        room,
        info,
        join,
        private_key,
        sources,
    } = token;
    // The server would refuse it, in a place where nobody sees why.
    if let Some(others) = room.iter().chain(&join).find(|room| !room.admits(&user)) {
        return Err(TokenError::NotAdmitted(others.clone()));
    }
    let signer = match private_key {
        Some(path) => by_private_key(&path)?,
        None => by_secret(sources)?,
    };
    let now_s = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    // A token counts in whole seconds, and says how long it was meant to last.
    let expires_s = lifetime.map(|lifetime| now_s + lifetime.as_millis().div_ceil(1000) as u64);
    let claims = match room {
        Some(room) => Claims::Subscription(SubscriptionToken {
            user,
            room,
            expires_s,
            info,
        }),
        None => Claims::Connection(ConnectionToken {
            user,
            expires_s,
            info,
            rooms: join,
        }),
    };
    Ok(signer.sign(&claims, now_s)?)
}

fn by_private_key(path: &Path) -> Result<Signer, TokenError> {
    let refused = |problem| TokenError::KeyFile {
        path: path.to_owned(),
        problem,
    };
    let pem = fs::read_to_string(path)
        .map_err(|error| refused(format!("it can't be read: {error} (name a PEM file)")))?;
    Signer::with_private_key(&pem).map_err(|error| refused(error.to_string()))
}

fn by_secret(sources: Sources) -> Result<Signer, TokenError> {
    let Loaded {
        config: Config { tokens, .. },
        warnings,
        ..
    } = sources.load()?;
    warnings.iter().for_each(warn);
    let Some(secret) = tokens.hmac_secret else {
        return Err(TokenError::NoKey {
            has_public_key: tokens.public_key_file.is_some(),
        });
    };
    Signer::with_secret(secret.reveal()).map_err(TokenError::Secret)
}

fn user(text: &str) -> Result<UserId, String> {
    UserId::parse(text).map_err(|error| match error {
        NameError::Separator { .. } => format!("{error} (name the user without it)"),
        error => error.to_string(),
    })
}

fn lifetime(text: &str) -> Result<Lifetime, String> {
    if text == "never" {
        return Ok(Lifetime(None));
    }
    let lifetime = parse_duration(text).map_err(|error| format!("{error}, or never"))?;
    if lifetime.is_zero() {
        return Err("it would be over at once (write 1s or more, or never)".to_owned());
    }
    if lifetime > LIFETIME_MAX {
        let max = format_duration(LIFETIME_MAX);
        return Err(format!("it exceeds {max} (write less, or never)"));
    }
    Ok(Lifetime(Some(lifetime)))
}

fn json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("it is not JSON: {error} (write it as '{{\"name\":\"Ada\"}}', with the quotes)")
    })
}
