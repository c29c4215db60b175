//! Every limit, timeout and switch, with its unit in its name or its type, validated once.
//!
//! A program that embeds the server fills a [`Config`] by hand and calls [`Config::validate`]; one
//! that lets its users configure it reads [`Layers`].
//!
//! ```
//! use slabcast::config::Layers;
//!
//! let loaded = Layers::new()
//!     .environment([("SLABCAST_LIMITS_ROOMS".to_owned(), "20".to_owned())])
//!     .set("limits.message_bytes", "1KiB", "--set limits.message_bytes")
//!     .load()?;
//! assert_eq!(loaded.config.limits.rooms, 20);
//! assert_eq!(loaded.config.limits.message_bytes, 1024);
//! # Ok::<(), slabcast::config::ConfigError>(())
//! ```

mod assignment;
mod error;
mod file;
mod layers;
mod room;
mod schema;
mod secret;
pub mod units;
mod validate;
mod warning;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    error::{ConfigError, Origin},
    layers::{Layers, Loaded},
    room::{PublishRight, RoomConfig, SlowPolicy, SubscribeRight},
    secret::Secret,
    validate::SECRET_BYTES_MIN,
    warning::ConfigWarning,
};

/// The configuration file with every key, its default and what it is for.
///
/// A server started with this file behaves as one started without any.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// How the server runs. [`Config::default`] is what `slabcast` does when nobody says anything.
///
/// Deserialised by itself, what is missing anywhere takes its default; that the namespaces of
/// `rooms` start from `room_defaults` is the doing of [`Layers`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one.
    #[serde(deserialize_with = "units::address::deserialize")]
    pub listen: SocketAddr,
    /// What coordinates the members of a room. The program chooses by it; who embeds the server
    /// names the engine in [`Server`](../server/struct.Server.html)'s type.
    pub engine: Engine,
    /// Whether anybody may connect without a token; unset: exactly while listening on loopback with
    /// nothing to check tokens by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<bool>,
    /// Names that may stand in a request's `Host`, besides IP addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may connect, besides the server's own. `*` admits every page.
    pub allowed_origins: Vec<String>,
    /// Who may use the API.
    pub api: ApiConfig,
    /// What tokens are checked by.
    pub tokens: TokensConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// What may be used up.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// The options of every room that no namespace of `rooms` covers.
    pub room_defaults: RoomConfig,
    /// The options of rooms by namespace: `chat` covers `chat:lobby`.
    pub rooms: BTreeMap<String, RoomConfig>,
}

/// What coordinates the members of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// A lock that all connections share: [`Registry`](../fanout/struct.Registry.html).
    Lock,
    /// A task for each room, which takes commands: [`Hub`](../fanout/struct.Hub.html).
    Hub,
}

/// The server API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// What a request must carry to use the API; unset: one that the server makes at its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
}

/// What tokens are checked by. With neither, a token proves nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokensConfig {
    /// The secret that HS256 tokens are signed with, 32 bytes or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac_secret: Option<Secret>,
    /// A PEM file with the public key of those who sign by RS256, ES256, ES384 or EdDSA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<PathBuf>,
}

impl TokensConfig {
    /// Whether there is something to check a token by.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.hmac_secret.is_some() || self.public_key_file.is_some()
    }
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A filter as `tracing-subscriber` reads it: `info`, `slabcast=debug`.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// What may be used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at once; unset: what the descriptor limit allows less a reserve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// The longest message that a client may send, in bytes.
    #[serde(with = "units::size")]
    pub message_bytes: usize,
    /// The longest request head, in bytes; at least 8 KiB.
    #[serde(with = "units::size")]
    pub head_bytes: usize,
    /// Connections of one user at once; unset: as many as there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_user: Option<usize>,
    /// Connections from one IP address at once (IPv6: from one /64 network); unset: as many as there
    /// may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_address: Option<usize>,
    /// Commands, messages or requests of one connection in a second; unset: as many as it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands_per_second: Option<u32>,
    /// Rooms that one client may be in at once.
    pub rooms_per_client: usize,
    /// Rooms at once.
    pub rooms: usize,
    /// What all rooms' histories may hold together, in bytes of payload.
    #[serde(with = "units::size")]
    pub history_bytes: usize,
    /// What all rooms may hold together for members that have not read it, in bytes of buffers.
    #[serde(with = "units::size")]
    pub feed_bytes: usize,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// From accepting a connection to the end of a request's head, and between requests.
    #[serde(with = "units::duration")]
    pub request_head: Duration,
    /// From the end of a request's head to the end of its body.
    #[serde(with = "units::duration")]
    pub request_body: Duration,
    /// From the upgrade to the first command of a way in that has one.
    #[serde(with = "units::duration")]
    pub login: Duration,
    /// From a token's expiry to the end of what it allowed, where a new one can be sent.
    #[serde(with = "units::duration")]
    pub refresh: Duration,
    /// How long a socket may take nothing while something waits for it.
    #[serde(with = "units::duration")]
    pub write: Duration,
    /// From our close frame, or the last flush before it, to the end of the connection.
    #[serde(with = "units::duration")]
    pub close: Duration,
    /// Between pings.
    #[serde(with = "units::duration")]
    pub ping: Duration,
    /// From a ping to its answer.
    #[serde(with = "units::duration")]
    pub pong: Duration,
    /// Over how long a drain spreads the closing of connections.
    #[serde(with = "units::duration")]
    pub drain_window: Duration,
    /// When a drain gives up waiting.
    #[serde(with = "units::duration")]
    pub drain_deadline: Duration,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            engine: Engine::Lock,
            anonymous: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            api: ApiConfig::default(),
            tokens: TokensConfig::default(),
            log: LogConfig::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            room_defaults: RoomConfig::default(),
            rooms: BTreeMap::new(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            message_bytes: 64 * KIB,
            head_bytes: 16 * KIB,
            connections_per_user: None,
            connections_per_address: None,
            commands_per_second: None,
            rooms_per_client: 128,
            rooms: 100_000,
            history_bytes: 256 * MIB,
            feed_bytes: 256 * MIB,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_head: Duration::from_secs(10),
            request_body: Duration::from_secs(10),
            login: Duration::from_secs(10),
            refresh: Duration::from_secs(25),
            write: Duration::from_secs(10),
            close: Duration::from_secs(5),
            ping: Duration::from_secs(25),
            pong: Duration::from_secs(8),
            drain_window: Duration::from_secs(5),
            drain_deadline: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// The options of the room of that name's namespace.
    #[must_use]
    pub fn room(&self, namespace: Option<&str>) -> &RoomConfig {
        namespace
            .and_then(|namespace| self.rooms.get(namespace))
            .unwrap_or(&self.room_defaults)
    }

    /// Whether anybody may connect without a token.
    #[must_use]
    pub fn anonymous(&self) -> bool {
        self.anonymous
            .unwrap_or_else(|| self.listen.ip().is_loopback() && !self.tokens.is_set())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_says_the_defaults() {
        let read: Config = toml::from_str(DEFAULT_TOML).unwrap();
        assert_eq!(read, Config::default());
    }

    #[test]
    fn the_default_file_says_each_default_itself() {
        // What it left out would be filled in, so it is held against a table that fills nothing in.
        let said: toml::Table = DEFAULT_TOML.parse().unwrap();
        assert_eq!(said, schema::default_table());
    }

    #[test]
    fn the_default_file_mentions_every_key() {
        let mut table = String::new();
        let mut mentioned = Vec::new();
        for line in DEFAULT_TOML.lines() {
            let line = line.trim_start_matches("# ");
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                table = format!("{name}.");
            } else if let Some((key, _)) = line.split_once(" = ") {
                mentioned.push(format!("{table}{key}"));
            }
        }
        for key in schema::Schema::new().dotted_keys() {
            assert!(mentioned.contains(&key), "{key} is missing");
        }
    }

    #[test]
    fn the_default_file_is_valid() {
        let config: Config = toml::from_str(DEFAULT_TOML).unwrap();
        assert_eq!(config.clone().validate().unwrap(), config);
    }
}
