//! Command line over environment over file over default.
//!
//! Every layer becomes assignments of values to paths, each with its origin. An assignment is
//! checked by itself, so that an error can name its origin; then all are put into one table, from
//! the lowest layer to the highest, and that is read once.

use std::{collections::BTreeMap, path::PathBuf};

use toml::{Table, Value};

use super::{
    Config, ConfigError, ConfigWarning, Origin,
    assignment::{Assignment, Override, put, read},
    file,
    schema::{self, ROOMS, Schema},
};

/// Names the configuration file.
const FILE_VARIABLE: &str = "SLABCAST_CONFIG";

/// A token to connect with: what the program's clients bring. It stands in many a shell's environment
/// beside the server's own variables, and is no key of the server's.
const TOKEN_VARIABLE: &str = "SLABCAST_TOKEN";

/// Variables that begin so are for tests of the server, and are left alone.
const TEST_VARIABLE_PREFIX: &str = "SLABCAST_TEST_";

/// Where a configuration is read from: command line over environment over file over default.
///
/// Nothing is read before [`load`](Self::load), and the process's own environment never is: the
/// caller hands it in.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    overrides: Vec<Override>,
}

/// A valid configuration, and where its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What it was read in spite of, for a log or a terminal.
    pub warnings: Vec<ConfigWarning>,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Where the value of `key` (`limits.message_bytes`) came from; none if it is the default.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key)
    }

    /// `error`, which was found in this configuration later, with where the value stands that it is
    /// about.
    #[must_use]
    pub fn with_origin(&self, error: ConfigError) -> ConfigError {
        with_origin(error, &self.origins)
    }
}

/// What the environment and the flags say, by what it is for.
struct Sorted {
    /// The file to read.
    file: Option<PathBuf>,
    /// The variables that stand for keys.
    variables: Vec<Override>,
    warnings: Vec<ConfigWarning>,
}

impl Layers {
    /// Nothing but defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads that file, whatever `SLABCAST_CONFIG` says.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Takes these environment variables. Those that don't begin with `SLABCAST_` are ignored, as
    /// are those that begin with `SLABCAST_TEST_`, and `SLABCAST_TOKEN`, which is for clients;
    /// `SLABCAST_CONFIG` names the file, unless it is empty. Others that stand for no key are ignored
    /// with a [`ConfigWarning`].
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = variables.into_iter().filter(|(name, _)| {
            name.starts_with(schema::VARIABLE_PREFIX)
                && !name.starts_with(TEST_VARIABLE_PREFIX)
                && name != TOKEN_VARIABLE
        });
        self.environment.extend(ours);
        self
    }

    /// Sets `key` (`limits.message_bytes`) to what `text` says, above everything else; of two for
    /// the same key the later one holds. Lists are separated by commas. `flag` is how errors name
    /// it.
    #[must_use]
    pub fn set(
        mut self,
        key: impl Into<String>,
        text: impl Into<String>,
        flag: impl Into<String>,
    ) -> Self {
        let origin = Origin::Flag(flag.into());
        self.overrides.push(Override {
            key: key.into(),
            text: text.into(),
            origin,
        });
        self
    }

    /// Reads all layers and validates what comes out.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong: a file that can't be read or is not TOML,
    /// a key that is not known, a value that is not of its key's kind, or one that
    /// [`Config::validate`] refuses.
    pub fn load(self) -> Result<Loaded, ConfigError> {
        let schema = Schema::new();
        let Sorted {
            file,
            variables,
            mut warnings,
        } = self.sort_environment(&schema);
        let mut assignments = Vec::new();
        if let Some(path) = file {
            assignments.extend(file::read(&schema, &path)?);
        }
        for from_outside in variables.into_iter().chain(self.overrides) {
            assignments.push(from_outside.assign(&schema)?);
        }

        let mut table = schema::default_table();
        let mut origins = BTreeMap::new();
        for mut assignment in assignments {
            warnings.extend(assignment.trim_secret());
            assignment.check(&schema)?;
            let Assignment {
                path,
                value,
                origin,
            } = assignment;
            origins.insert(path.join("."), origin);
            put(&mut table, &path, value);
        }
        start_namespaces_from_room_defaults(&mut table);
        let config = read(table).map_err(|problem| ConfigError::Value {
            key: "the configuration".to_owned(),
            origin: None,
            problem,
        })?;
        match config.validate() {
            Ok(config) => Ok(Loaded {
                config,
                warnings,
                origins,
            }),
            Err(error) => Err(with_origin(error, &origins)),
        }
    }

    /// Sorts the environment's variables by what they are for.
    fn sort_environment(&self, schema: &Schema) -> Sorted {
        let keys = schema.dotted_keys();
        let mut sorted = Sorted {
            file: self.file.clone(),
            variables: Vec::new(),
            warnings: Vec::new(),
        };
        for (name, text) in &self.environment {
            if name == FILE_VARIABLE {
                let named = || (!text.is_empty()).then(|| text.into());
                sorted.file = sorted.file.or_else(named);
                continue;
            }
            let Some(key) = keys.iter().find(|key| schema::variable_of(key) == *name) else {
                let nearest = schema.nearest_variable(name);
                let name = name.clone();
                let unknown = ConfigWarning::UnknownVariable { name, nearest };
                sorted.warnings.push(unknown);
                continue;
            };
            let origin = Origin::Environment(name.clone());
            sorted.variables.push(Override {
                key: key.clone(),
                text: text.clone(),
                origin,
            });
        }
        sorted
    }
}

/// A namespace names only what differs from `room_defaults`, as they finally are.
fn start_namespaces_from_room_defaults(table: &mut Table) {
    let defaults = table
        .get("room_defaults")
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    let rooms = table.get_mut(ROOMS).and_then(Value::as_table_mut);
    for (_, namespace) in rooms.into_iter().flatten() {
        if let Value::Table(own) = namespace {
            let whole = defaults
                .clone()
                .into_iter()
                .chain(std::mem::take(own))
                .collect();
            *own = whole;
        }
    }
}

/// Says where the value stands that `error` is about.
fn with_origin(error: ConfigError, origins: &BTreeMap<String, Origin>) -> ConfigError {
    let ConfigError::Invalid {
        keys,
        problem,
        remedy,
        ..
    } = error
    else {
        return error;
    };
    let within = |key: &String| {
        let inside = format!("{key}.");
        origins
            .iter()
            .find(|(other, _)| other.starts_with(&inside))
            .map(|(_, origin)| origin)
    };
    let origin = keys
        .iter()
        .find_map(|key| origins.get(key).or_else(|| within(key)))
        .cloned();
    ConfigError::Invalid {
        keys,
        origin,
        problem,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::config::{LogFormat, SlowPolicy};

    /// Layers with a file of that text; the file lasts as long as what is returned beside them.
    fn with_file(text: &str) -> (tempfile::NamedTempFile, Layers) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let layers = Layers::new().file(file.path());
        (file, layers)
    }

    fn variable(name: &str, text: &str) -> [(String, String); 1] {
        [(name.to_owned(), text.to_owned())]
    }

    fn refusal(layers: Layers) -> String {
        layers.load().unwrap_err().to_string()
    }

    #[test]
    fn without_any_layer_everything_is_as_by_default() {
        assert_eq!(Layers::new().load().unwrap().config, Config::default());
    }

    #[test]
    fn the_higher_layer_wins_and_is_the_origin() {
        let (file, layers) = with_file("[limits]\nrooms = 1\nmessage_bytes = 2\nhead_bytes = 8193");
        let loaded = layers
            .environment(variable("SLABCAST_LIMITS_ROOMS", "10"))
            .environment(variable("SLABCAST_LIMITS_MESSAGE_BYTES", "20"))
            .set("limits.rooms", "100", "--set limits.rooms")
            .load()
            .unwrap();
        let limits = &loaded.config.limits;
        assert_eq!(
            (limits.rooms, limits.message_bytes, limits.head_bytes),
            (100, 20, 8193)
        );
        assert_eq!(limits.rooms_per_client, 128);

        let flag = Origin::Flag("--set limits.rooms".to_owned());
        assert_eq!(loaded.origin("limits.rooms"), Some(&flag));
        let variable = Origin::Environment("SLABCAST_LIMITS_MESSAGE_BYTES".to_owned());
        assert_eq!(loaded.origin("limits.message_bytes"), Some(&variable));
        let line = Origin::File {
            path: file.path().to_owned(),
            line: 4,
        };
        assert_eq!(loaded.origin("limits.head_bytes"), Some(&line));
        assert_eq!(loaded.origin("limits.rooms_per_client"), None);
    }

    #[test]
    fn every_kind_of_value_is_read_from_text() {
        let config = Layers::new()
            .environment(variable("SLABCAST_ANONYMOUS", "true"))
            .environment(variable("SLABCAST_LIMITS_CONNECTIONS", "7"))
            .environment(variable("SLABCAST_TIMEOUTS_CLOSE", "250ms"))
            .environment(variable("SLABCAST_ALLOWED_HOSTS", "a.example, b.example,"))
            .set("listen", "[::]:0", "--listen")
            .set("log.format", "json", "--log-format")
            .load()
            .unwrap()
            .config;
        assert_eq!(config.anonymous, Some(true));
        assert_eq!(config.limits.connections, Some(7));
        assert_eq!(config.timeouts.close, std::time::Duration::from_millis(250));
        assert_eq!(config.allowed_hosts, ["a.example", "b.example"]);
        assert_eq!(config.listen.to_string(), "[::]:0");
        assert_eq!(config.log.format, LogFormat::Json);
    }

    #[test]
    fn a_namespace_starts_from_the_room_defaults_of_all_layers() {
        let (_file, layers) = with_file(
            "[room_defaults]\nhistory_size = 5\npresence = false\n[rooms.chat]\nslow = 'skip'\n\
             [rooms.plain]",
        );
        let config = layers
            .environment(variable("SLABCAST_ROOM_DEFAULTS_HISTORY_SIZE", "6"))
            .set("rooms.a.b.presence", "true", "--set rooms.a.b.presence")
            .load()
            .unwrap()
            .config;
        let defaults = &config.room_defaults;
        assert_eq!((defaults.history_size, defaults.presence), (6, false));
        assert_eq!(config.rooms["plain"], *defaults);
        assert_eq!(
            config.rooms["chat"],
            super::super::RoomConfig {
                slow: SlowPolicy::Skip,
                ..defaults.clone()
            }
        );
        assert!(config.rooms["a.b"].presence);
        assert_eq!(config.rooms["a.b"].history_size, 6);
    }

    #[test]
    fn the_variable_that_names_the_file_yields_to_the_flag() {
        let (file, layers) = with_file("[limits]\nrooms = 3");
        let named = file.path().to_str().unwrap();
        let by_variable = Layers::new().environment(variable("SLABCAST_CONFIG", named));
        assert_eq!(by_variable.load().unwrap().config.limits.rooms, 3);
        let by_flag = layers.environment(variable("SLABCAST_CONFIG", "/nowhere"));
        assert_eq!(by_flag.load().unwrap().config.limits.rooms, 3);
    }

    #[test]
    fn foreign_test_and_empty_file_variables_are_left_alone() {
        for name in [
            "PATH",
            "SLABCAST_TEST_SOMETHING",
            "SLABCAST_TOKEN",
            "SLABCASTING",
        ] {
            assert!(
                Layers::new()
                    .environment(variable(name, "x"))
                    .load()
                    .is_ok(),
                "{name}"
            );
        }
        assert!(
            Layers::new()
                .environment(variable("SLABCAST_CONFIG", ""))
                .load()
                .is_ok()
        );
    }

    fn warnings(layers: Layers) -> Vec<String> {
        let loaded = layers.load().unwrap();
        loaded.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_unknown_variable_is_a_warning_with_the_nearest_known_one() {
        assert_eq!(
            warnings(Layers::new().environment(variable("SLABCAST_LIMIT_ROOMS", "1"))),
            [
                "the environment variable SLABCAST_LIMIT_ROOMS is unknown and ignored (did you mean \
                 SLABCAST_LIMITS_ROOMS?)"
            ]
        );
        let namespace =
            warnings(Layers::new().environment(variable("SLABCAST_ROOMS_A_SLOW", "skip")));
        assert!(
            namespace[0].contains("--set rooms.<namespace>.<key>=<value>"),
            "{namespace:?}"
        );
        let strange = warnings(Layers::new().environment(variable("SLABCAST_\u{1b}[2J\n", "1")));
        assert!(!strange[0].contains(char::is_control), "{strange:?}");
    }

    #[test]
    fn variables_of_a_container_platform_are_warnings_that_name_it() {
        for name in [
            "SLABCAST_PORT",
            "SLABCAST_PORT_8080_TCP",
            "SLABCAST_PORT_8080_TCP_ADDR",
            "SLABCAST_SERVICE_HOST",
            "SLABCAST_SERVICE_PORT",
            "SLABCAST_SERVICE_PORT_HTTP",
            "SLABCAST_API_PORT",
            "SLABCAST_API_KEY_PORT_53_UDP_PROTO",
            "SLABCAST_LIMITS_PORT",
            "SLABCAST_ENV_SLABCAST_API_KEY",
            "SLABCAST_NAME",
        ] {
            let said = warnings(Layers::new().environment(variable(name, "tcp://10.0.0.1:8080")));
            assert!(
                said[0].contains(name) && said[0].contains("Kubernetes"),
                "{said:?}"
            );
        }
    }

    #[test]
    fn a_wrong_value_of_a_known_variable_is_refused() {
        let refusal =
            refusal(Layers::new().environment(variable("SLABCAST_LISTEN", "tcp://10.0.0.1:8080")));
        assert!(
            refusal.starts_with("environment variable SLABCAST_LISTEN: listen: "),
            "{refusal}"
        );
    }

    #[test]
    fn a_switch_in_the_environment_takes_every_usual_spelling() {
        for (spellings, expected) in [
            (
                ["1", "yes", "on", "true", "True", "TRUE", "Yes", " ON "],
                true,
            ),
            (
                ["0", "no", "off", "false", "False", "FALSE", "nO", "Off"],
                false,
            ),
        ] {
            for text in spellings {
                let layers =
                    Layers::new().environment(variable("SLABCAST_ROOM_DEFAULTS_PRESENCE", text));
                let config = layers.load().unwrap().config;
                assert_eq!(config.room_defaults.presence, expected, "{text}");
            }
        }
        for text in ["", "2", "ja", "truer", "y"] {
            let layers = Layers::new().environment(variable("SLABCAST_ANONYMOUS", text));
            assert!(refusal(layers).contains("(write true or false)"), "{text}");
        }
    }

    #[test]
    fn a_secret_loses_the_newline_at_its_end_with_a_warning() {
        let key = "0123456789abcdef0123456789abcdef";
        for end in ["\n", "\r\n", "\n\n"] {
            let (_file, layers) = with_file(&format!("api.key = {:?}", format!("{key}{end}")));
            let loaded = layers
                .environment(variable(
                    "SLABCAST_TOKENS_HMAC_SECRET",
                    &format!("{key} {end}"),
                ))
                .load()
                .unwrap();
            let Config { api, tokens, .. } = &loaded.config;
            assert_eq!(api.key.as_ref().unwrap().reveal(), key);
            // Other white space is the secret's own.
            let secret = tokens.hmac_secret.as_ref().unwrap().reveal();
            assert_eq!(secret, format!("{key} "));
            let said: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
            assert_eq!(said.len(), 2, "{said:?}");
            assert!(
                said[0].contains("line 1: api.key ended in a newline"),
                "{said:?}"
            );
            assert!(
                said[1].contains("SLABCAST_TOKENS_HMAC_SECRET: tokens.hmac_secret ended"),
                "{said:?}"
            );
            assert!(said.iter().all(|said| !said.contains(key)), "{said:?}");
        }
        let untouched = Layers::new().environment(variable("SLABCAST_API_KEY", key));
        assert_eq!(warnings(untouched), [""; 0]);
    }

    #[test]
    fn an_invalid_value_is_blamed_on_whoever_set_it() {
        assert_eq!(
            refusal(Layers::new().environment(variable("SLABCAST_LIMITS_HEAD_BYTES", "4KiB"))),
            "environment variable SLABCAST_LIMITS_HEAD_BYTES: limits.head_bytes of 4096 is below \
             8192 (set 8KiB or more)"
        );
        let (file, layers) = with_file("[limits]\nmessage_bytes = '2MiB'");
        let blamed = format!(
            "{} line 2: room_defaults.lag_bytes of",
            file.path().display()
        );
        let refusal = refusal(layers);
        assert!(refusal.starts_with(&blamed), "{refusal}");
    }

    #[test]
    fn an_inherited_invalid_value_is_blamed_on_where_it_was_set() {
        // Without history the defaults may have no time to live; the namespace may not.
        let layers = Layers::new()
            .set(
                "room_defaults.history_size",
                "0",
                "--set room_defaults.history_size",
            )
            .set(
                "room_defaults.history_ttl",
                "0s",
                "--set room_defaults.history_ttl",
            )
            .set(
                "rooms.chat.history_size",
                "5",
                "--set rooms.chat.history_size",
            );
        let refusal = refusal(layers);
        let blamed = "--set room_defaults.history_ttl: rooms.chat.history_ttl of 0s";
        assert!(refusal.starts_with(blamed), "{refusal}");
    }

    #[test]
    fn a_namespace_that_can_not_be_is_blamed_on_whoever_named_it() {
        let refusal = refusal(Layers::new().set("rooms..slow", "skip", "--set rooms..slow"));
        assert!(
            refusal.starts_with("--set rooms..slow: the namespace \"\""),
            "{refusal}"
        );
    }

    #[test]
    fn a_table_can_not_be_set_as_a_value() {
        for key in ["limits", "rooms", "rooms.chat"] {
            let refusal = refusal(Layers::new().set(key, "4", "--set"));
            assert_eq!(
                refusal,
                format!("--set: {key}: it is a table, not a value (set the keys in it one by one)")
            );
        }
    }
}
