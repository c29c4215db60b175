//! Which values one can run with. Each refusal says the value, the limit and what to set.

use std::time::Duration;

use super::{
    Config, ConfigError, RoomConfig, Timeouts,
    units::{format_duration, format_size},
};

/// Hyper refuses to work with a smaller head buffer.
const HEAD_BYTES_MIN: usize = 8192;

/// What a message grows by at most when it becomes a frame, in bytes: the longest header that
/// RFC 6455 section 5.2 knows.
const FRAME_HEADER_BYTES_MAX: usize = 14;

/// A lag limit of fewer frames would close clients for a moment's jitter.
const LAG_MESSAGES_MIN: usize = 16;

/// A budget that the frames of a moment use up would be no limit for slow members only.
const FEED_BYTES_MIN: usize = 1 << 20;

/// A shorter key could be found by trying.
const API_KEY_CHARACTERS_MIN: usize = 16;

/// The shortest secret for HS256, in bytes: as long as its hash (RFC 7518, 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// A deadline of more than a day is a mistake, not a deadline.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// History is in memory only. The limit also keeps ages within what the clock can add up.
const HISTORY_TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

impl Config {
    /// Gives the configuration back if one can run with it.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for the first value that one can't run with.
    ///
    /// ```
    /// let mut config = slabcast::config::Config::default();
    /// config.limits.head_bytes = 4096;
    /// assert_eq!(
    ///     config.validate().unwrap_err().to_string(),
    ///     "limits.head_bytes of 4096 is below 8192 (set 8KiB or more)"
    /// );
    /// ```
    pub fn validate(self) -> Result<Self, ConfigError> {
        self.validate_for(false)
    }

    /// The same for a server that `has_hooks`, which may know people without any token.
    pub(crate) fn validate_for(self, has_hooks: bool) -> Result<Self, ConfigError> {
        self.validate_access(has_hooks)?;
        self.validate_api()?;
        self.validate_limits()?;
        validate_timeouts(&self.timeouts)?;
        validate_room(
            "room_defaults",
            &self.room_defaults,
            self.limits.message_bytes,
        )?;
        for (namespace, room) in &self.rooms {
            validate_namespace(namespace)?;
            validate_room(
                &format!("rooms.{namespace}"),
                room,
                self.limits.message_bytes,
            )?;
        }
        Ok(self)
    }

    fn validate_access(&self, has_hooks: bool) -> Result<(), ConfigError> {
        if let Some(secret) = &self.tokens.hmac_secret {
            let bytes = secret.reveal().len();
            if bytes < SECRET_BYTES_MIN {
                return Err(invalid(
                    ["tokens.hmac_secret"],
                    format!("tokens.hmac_secret of {bytes} bytes is below {SECRET_BYTES_MIN}"),
                    "make one with: openssl rand -hex 32",
                ));
            }
        }
        if self.anonymous() || self.tokens.is_set() || has_hooks {
            return Ok(());
        }
        if self.anonymous.is_some() {
            return Err(invalid(
                ["anonymous"],
                "anonymous = false lets nobody in, for there is nothing to check tokens by",
                "set tokens.hmac_secret or tokens.public_key_file, or anonymous = true",
            ));
        }
        Err(invalid(
            ["listen"],
            format!(
                "listening on {} would let the whole network in without tokens",
                self.listen
            ),
            "set tokens.hmac_secret (SLABCAST_TOKENS_HMAC_SECRET) or tokens.public_key_file, allow it \
             with --anonymous or anonymous = true, or listen on 127.0.0.1",
        ))
    }

    /// Without a word of the key, which stays secret when it is wrong, too.
    fn validate_api(&self) -> Result<(), ConfigError> {
        let Some(key) = &self.api.key else {
            return Ok(());
        };
        let characters = key.reveal().chars().count();
        let problem = if !key.reveal().chars().all(|c| c.is_ascii_graphic()) {
            "api.key holds a space, or a character that no header can carry".to_owned()
        } else if characters < API_KEY_CHARACTERS_MIN {
            format!("api.key of {characters} characters can be guessed")
        } else {
            return Ok(());
        };
        let remedy = format!(
            "set {API_KEY_CHARACTERS_MIN} or more letters, digits and punctuation marks, or leave \
             it out: then one is made and printed at start"
        );
        Err(invalid(["api.key"], problem, remedy))
    }

    fn validate_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        at_least(
            "limits.head_bytes",
            limits.head_bytes,
            HEAD_BYTES_MIN,
            format_size,
        )?;
        at_least("limits.message_bytes", limits.message_bytes, 1, format_size)?;
        at_least("limits.rooms_per_client", limits.rooms_per_client, 1, plain)?;
        at_least("limits.rooms", limits.rooms, 1, plain)?;
        at_least(
            "limits.feed_bytes",
            limits.feed_bytes,
            FEED_BYTES_MIN,
            format_size,
        )?;
        let optional = [
            ("limits.connections", limits.connections),
            ("limits.connections_per_user", limits.connections_per_user),
            (
                "limits.connections_per_address",
                limits.connections_per_address,
            ),
            (
                "limits.commands_per_second",
                limits.commands_per_second.map(|commands| commands as usize),
            ),
        ];
        for (key, value) in optional {
            at_least(key, value.unwrap_or(usize::MAX), 1, plain)?;
        }
        Ok(())
    }
}

fn validate_timeouts(timeouts: &Timeouts) -> Result<(), ConfigError> {
    // Taken apart whole, so that a new timeout can't be forgotten here.
    let Timeouts {
        request_head,
        request_body,
        login,
        refresh,
        write,
        close,
        ping,
        pong,
        drain_window,
        drain_deadline,
    } = timeouts;
    for (key, value) in [
        ("request_head", request_head),
        ("request_body", request_body),
        ("login", login),
        ("refresh", refresh),
        ("write", write),
        ("close", close),
        ("ping", ping),
        ("pong", pong),
        ("drain_window", drain_window),
        ("drain_deadline", drain_deadline),
    ] {
        within(&format!("timeouts.{key}"), *value, TIMEOUT_MAX)?;
    }
    if pong < ping {
        return Ok(());
    }
    let (pong, ping) = (format_duration(*pong), format_duration(*ping));
    Err(invalid(
        ["timeouts.pong", "timeouts.ping"],
        format!("timeouts.pong of {pong} is not below timeouts.ping of {ping}"),
        format!("set pong to less than {ping}, or ping to more than {pong}"),
    ))
}

fn validate_namespace(namespace: &str) -> Result<(), ConfigError> {
    let (problem, remedy) = if namespace.is_empty() {
        (
            "has no name",
            "name it after what stands before the first ':' of its rooms' names",
        )
    } else if namespace.contains(':') {
        (
            "contains ':', which ends a namespace in a room's name",
            "leave ':' and what follows out",
        )
    } else if namespace.contains(char::is_control) {
        (
            "contains a control character, which no room's name may",
            "leave it out",
        )
    } else {
        return Ok(());
    };
    let problem = format!("the namespace {namespace:?} of rooms {problem}");
    Err(invalid([format!("rooms.{namespace}")], problem, remedy))
}

fn validate_room(table: &str, room: &RoomConfig, message_bytes: usize) -> Result<(), ConfigError> {
    at_least(
        &format!("{table}.lag_messages"),
        room.lag_messages,
        LAG_MESSAGES_MIN,
        plain,
    )?;
    if room.history_size > 0 {
        within(
            &format!("{table}.history_ttl"),
            room.history_ttl,
            HISTORY_TTL_MAX,
        )?;
    }
    let frame_bytes = message_bytes.saturating_add(FRAME_HEADER_BYTES_MAX);
    if room.lag_bytes >= frame_bytes {
        return Ok(());
    }
    let lag_bytes = room.lag_bytes;
    Err(invalid(
        [
            format!("{table}.lag_bytes"),
            "room_defaults.lag_bytes".to_owned(),
            "limits.message_bytes".to_owned(),
        ],
        format!(
            "{table}.lag_bytes of {lag_bytes} is below {frame_bytes}, so a message of \
             limits.message_bytes would not fit in"
        ),
        format!("set {table}.lag_bytes to {frame_bytes} or more, or limits.message_bytes to less"),
    ))
}

fn at_least(
    key: &str,
    value: usize,
    least: usize,
    show: fn(usize) -> String,
) -> Result<(), ConfigError> {
    if value >= least {
        return Ok(());
    }
    let problem = format!("{key} of {value} is below {least}");
    Err(invalid(
        blamable(key),
        problem,
        format!("set {} or more", show(least)),
    ))
}

/// Refuses zero and what is over `most`.
fn within(key: &str, value: Duration, most: Duration) -> Result<(), ConfigError> {
    let shown = format_duration(value);
    let longest = format_duration(most);
    if value.is_zero() {
        let remedy = format!("set more than 0s, and {longest} or less");
        return Err(invalid(
            blamable(key),
            format!("{key} of {shown} is no time at all"),
            remedy,
        ));
    }
    if value > most {
        let problem = format!("{key} of {shown} is over {longest}");
        return Err(invalid(
            blamable(key),
            problem,
            format!("set {longest} or less"),
        ));
    }
    Ok(())
}

/// The key itself and, for a namespace's, the one that it starts from.
fn blamable(key: &str) -> Vec<String> {
    let inherited = key
        .strip_prefix("rooms.")
        .and_then(|rest| rest.rsplit_once('.'));
    let inherited = inherited.map(|(_, key)| format!("room_defaults.{key}"));
    [key.to_owned()].into_iter().chain(inherited).collect()
}

fn plain(number: usize) -> String {
    number.to_string()
}

fn invalid(
    keys: impl IntoIterator<Item = impl Into<String>>,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> ConfigError {
    ConfigError::Invalid {
        keys: keys.into_iter().map(Into::into).collect(),
        origin: None,
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    /// What is said of the default configuration after `change`; none if it is valid.
    fn refusal(change: impl FnOnce(&mut Config)) -> Option<String> {
        let mut config = Config::default();
        change(&mut config);
        config.validate().err().map(|error| error.to_string())
    }

    #[test]
    fn a_bad_api_key_is_refused_and_not_shown() {
        let refused = |key: &str| refusal(|config| config.api.key = Some(Secret::new(key)));
        for key in [
            "",
            "hunter2",
            "hunter2 hunter2 hunter2",
            "hunter2hunter2hünter2",
        ] {
            let said = refused(key).unwrap();
            assert!(
                said.contains("api.key") && !said.contains("hunter2"),
                "{said}"
            );
        }
        assert_eq!(refused("0123456789abcdef"), None);
    }

    #[test]
    fn listening_beyond_loopback_needs_an_explicit_anonymous() {
        for listen in [
            "0.0.0.0:80",
            "[::]:80",
            "192.0.2.1:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            let refusal = refusal(|config| config.listen = listen.parse().unwrap()).unwrap();
            assert!(
                refusal.contains(listen) && refusal.contains("--anonymous"),
                "{refusal}"
            );
            assert!(refusal.contains("listen on 127.0.0.1"), "{refusal}");
        }
        let allowed = refusal(|config| {
            config.listen = "0.0.0.0:80".parse().unwrap();
            config.anonymous = Some(true);
        });
        assert_eq!(allowed, None);
        assert_eq!(
            refusal(|config| config.listen = "[::1]:80".parse().unwrap()),
            None
        );
    }

    #[test]
    fn refusing_anonymous_access_is_refused_while_there_is_no_other() {
        let refusal = refusal(|config| config.anonymous = Some(false)).unwrap();
        assert!(refusal.contains("nothing to check tokens by"), "{refusal}");
        assert!(refusal.contains("tokens.hmac_secret"), "{refusal}");
    }

    #[test]
    fn who_checks_tokens_may_listen_anywhere_and_lets_nobody_in_without_one() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef");
        let mut config = Config::default();
        assert!(config.anonymous());
        config.tokens.hmac_secret = Some(secret);
        assert!(!config.anonymous());
        config.listen = "0.0.0.0:80".parse().unwrap();
        let config = config.validate().unwrap();
        assert!(!config.anonymous());
        let both = Config {
            anonymous: Some(true),
            ..config
        };
        assert!(both.validate().unwrap().anonymous());
    }

    #[test]
    fn a_short_secret_is_refused_and_not_shown() {
        let said = refusal(|config| config.tokens.hmac_secret = Some(Secret::new("hunter2")));
        let said = said.unwrap();
        assert!(said.contains("7 bytes") && said.contains("32"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn no_limit_of_connections_or_commands_may_be_none_at_all() {
        for change in [
            (|limits| limits.connections_per_user = Some(0)) as fn(&mut crate::config::Limits),
            |limits| limits.connections_per_address = Some(0),
            |limits| limits.commands_per_second = Some(0),
        ] {
            let said = refusal(|config| change(&mut config.limits)).unwrap();
            assert!(said.contains("is below 1"), "{said}");
        }
    }

    #[test]
    fn each_limit_is_refused_below_its_least_and_accepted_at_it() {
        type Set = fn(&mut Config, usize);
        let cases: [(Set, usize, &str); 7] = [
            (
                |c, n| c.limits.head_bytes = n,
                8192,
                "limits.head_bytes of 8191 is below 8192",
            ),
            (
                |c, n| c.limits.message_bytes = n,
                1,
                "limits.message_bytes of 0 is below 1",
            ),
            (
                |c, n| c.limits.rooms_per_client = n,
                1,
                "limits.rooms_per_client of 0 is below 1",
            ),
            (|c, n| c.limits.rooms = n, 1, "limits.rooms of 0 is below 1"),
            (
                |c, n| c.limits.feed_bytes = n,
                1 << 20,
                "limits.feed_bytes of 1048575 is below 1048576",
            ),
            (
                |c, n| c.limits.connections = Some(n),
                1,
                "limits.connections of 0 is below 1",
            ),
            (
                |c, n| c.room_defaults.lag_messages = n,
                16,
                "room_defaults.lag_messages of 15 is",
            ),
        ];
        for (set, least, said) in cases {
            assert_eq!(refusal(|config| set(config, least)), None);
            let refusal = refusal(|config| set(config, least - 1)).unwrap();
            assert!(refusal.starts_with(said), "{refusal}");
        }
    }

    #[test]
    fn the_lag_limit_of_every_room_holds_a_frame_of_the_longest_message() {
        let lag = |config: &mut Config, lag_bytes| {
            config.limits.message_bytes = 100;
            let room = RoomConfig {
                lag_bytes,
                ..RoomConfig::default()
            };
            config.rooms.insert("chat".to_owned(), room);
        };
        assert_eq!(refusal(|config| lag(config, 114)), None);
        let refused = refusal(|config| lag(config, 113)).unwrap();
        assert!(
            refused.starts_with("rooms.chat.lag_bytes of 113 is below 114,"),
            "{refused}"
        );
        let whole_memory = refusal(|config| config.limits.message_bytes = usize::MAX).unwrap();
        assert!(
            whole_memory.starts_with("room_defaults.lag_bytes of "),
            "{whole_memory}"
        );
    }

    #[test]
    fn timeouts_are_more_than_nothing_and_at_most_a_day() {
        type Set = fn(&mut Config, Duration);
        let sets: [Set; 7] = [
            |c, d| c.timeouts.request_head = d,
            |c, d| c.timeouts.login = d,
            |c, d| c.timeouts.write = d,
            |c, d| c.timeouts.close = d,
            |c, d| c.timeouts.ping = d,
            |c, d| c.timeouts.drain_window = d,
            |c, d| c.timeouts.drain_deadline = d,
        ];
        let day = Duration::from_secs(24 * 3600);
        for set in sets {
            assert_eq!(refusal(|config| set(config, day)), None);
            let over = refusal(|config| set(config, day + Duration::from_nanos(1))).unwrap();
            assert!(over.ends_with("is over 24h (set 24h or less)"), "{over}");
            let zero = refusal(|config| set(config, Duration::ZERO)).unwrap();
            assert!(
                zero.contains(" of 0s is no time at all (set more than 0s"),
                "{zero}"
            );
        }
        let pong = refusal(|config| config.timeouts.pong = Duration::ZERO).unwrap();
        assert!(pong.starts_with("timeouts.pong of 0s is no time"), "{pong}");
    }

    #[test]
    fn a_pong_is_due_before_the_next_ping() {
        assert_eq!(
            refusal(|config| config.timeouts.pong = config.timeouts.ping).as_deref(),
            Some(
                "timeouts.pong of 25s is not below timeouts.ping of 25s (set pong to less than \
                 25s, or ping to more than 25s)"
            )
        );
    }

    #[test]
    fn history_needs_a_time_to_live_only_where_it_is_kept() {
        let no_ttl = |config: &mut Config| config.room_defaults.history_ttl = Duration::ZERO;
        let refused = refusal(no_ttl).unwrap();
        assert!(
            refused.starts_with("room_defaults.history_ttl of 0s is no time"),
            "{refused}"
        );
        let without_history = refusal(|config| {
            no_ttl(config);
            config.room_defaults.history_size = 0;
        });
        assert_eq!(without_history, None);
        assert!(refusal(|config| config.room_defaults.history_ttl = Duration::MAX).is_some());
    }

    #[test]
    fn namespaces_that_no_room_can_have_are_refused() {
        let name = |name: &'static str| {
            move |config: &mut Config| {
                config.rooms.insert(name.to_owned(), RoomConfig::default());
            }
        };
        assert_eq!(refusal(name("chat.de/ä")), None);
        for (namespace, said) in [
            ("", "the namespace \"\" of rooms has no name"),
            ("a:b", "the namespace \"a:b\" of rooms contains ':'"),
            (
                "a\n",
                "the namespace \"a\\n\" of rooms contains a control character",
            ),
        ] {
            let refusal = refusal(name(namespace)).unwrap();
            assert!(refusal.starts_with(said), "{refusal}");
        }
    }
}
