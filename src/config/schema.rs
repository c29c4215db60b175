//! Which keys there are, and what kind of value each takes: the default configuration as a table,
//! with a sample for what has no default.

use toml::{Table, Value};

use super::{Config, Secret, warning::is_injected};

/// The table that holds a table for each namespace.
pub(super) const ROOMS: &str = "rooms";
const ROOM_DEFAULTS: &str = "room_defaults";

/// The keys whose values are secrets: those of the type [`Secret`].
pub(super) const SECRETS: [&str; 2] = ["api.key", "tokens.hmac_secret"];

/// What every environment variable of ours begins with.
pub(super) const VARIABLE_PREFIX: &str = "SLABCAST_";

/// Names further from every known one than this share of their length are no typing errors, and a
/// guess would mislead.
const NEAREST_DISTANCE_DIVISOR: usize = 3;

/// Every key that can be configured.
pub(super) struct Schema {
    keys: Table,
    room_keys: Table,
}

/// What stands at a path.
pub(super) enum Node<'a> {
    /// A value; a sample of its kind.
    Value(&'a Value),
    /// A table, whose keys are known, or are the namespaces.
    Table,
}

impl Schema {
    pub(super) fn new() -> Self {
        let mut sample = Config {
            anonymous: Some(true),
            ..Config::default()
        };
        sample.limits.connections = Some(10_000);
        sample.limits.connections_per_user = Some(10);
        sample.limits.connections_per_address = Some(100);
        sample.limits.commands_per_second = Some(100);
        sample.api.key = Some(Secret::new(""));
        sample.tokens.hmac_secret = Some(Secret::new(""));
        sample.tokens.public_key_file = Some("".into());
        let keys = table_of(&sample);
        let room_keys = match keys.get(ROOM_DEFAULTS) {
            Some(Value::Table(room_keys)) => room_keys.clone(),
            _ => unreachable!("room_defaults is a struct, so it is written as a table"),
        };
        Self { keys, room_keys }
    }

    /// What stands at `path`, if anything may.
    pub(super) fn find(&self, path: &[String]) -> Option<Node<'_>> {
        match path {
            [first, _namespace, rest @ ..] if first == ROOMS => descend(&self.room_keys, rest),
            _ => descend(&self.keys, path),
        }
    }

    /// Every key that takes a value, with dots, but for those of namespaces.
    pub(super) fn dotted_keys(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, value) in &self.keys {
            match value {
                Value::Table(inner) => {
                    found.extend(inner.keys().map(|key| format!("{name}.{key}")))
                }
                _ => found.push(name.clone()),
            }
        }
        found
    }

    /// The known key that `path` was probably meant to be.
    pub(super) fn nearest_key(&self, path: &[String]) -> Option<String> {
        let word = path.join(".");
        if let [first, namespace, _, ..] = path
            && first == ROOMS
        {
            let prefix = format!("{ROOMS}.{namespace}.");
            return nearest(
                &word,
                self.room_keys.keys().map(|key| format!("{prefix}{key}")),
            );
        }
        let tables = self.keys.iter().filter(|(_, value)| value.is_table());
        let known = tables
            .map(|(name, _)| name.clone())
            .chain(self.dotted_keys());
        nearest(&word, known)
    }

    /// The known environment variable that `name` was probably meant to be.
    pub(super) fn nearest_variable(&self, name: &str) -> Option<String> {
        // A name that nobody typed is no typing error.
        if is_injected(name) {
            return None;
        }
        nearest(name, self.dotted_keys().iter().map(|key| variable_of(key)))
    }
}

/// The default configuration as a table.
pub(super) fn default_table() -> Table {
    table_of(&Config::default())
}

/// The environment variable that sets `key`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.to_uppercase().replace('.', "_"))
}

/// The path that a dotted key says. A namespace may contain dots itself; a room's keys do not.
pub(super) fn path_of(key: &str) -> Vec<String> {
    let namespaced = key
        .strip_prefix(ROOMS)
        .and_then(|rest| rest.strip_prefix('.'));
    match namespaced.and_then(|rest| rest.rsplit_once('.')) {
        Some((namespace, key)) => vec![ROOMS.to_owned(), namespace.to_owned(), key.to_owned()],
        None => key.split('.').map(str::to_owned).collect(),
    }
}

fn table_of(config: &Config) -> Table {
    Table::try_from(config).expect("every field is written as text, number, bool, list or table")
}

fn descend<'a>(table: &'a Table, path: &[String]) -> Option<Node<'a>> {
    let Some((first, rest)) = path.split_first() else {
        return Some(Node::Table);
    };
    match table.get(first)? {
        Value::Table(inner) => descend(inner, rest),
        value => rest.is_empty().then_some(Node::Value(value)),
    }
}

/// The nearest of `known` to `word`, unless all are too far. Who leaves the table out
/// (`message_bytes`) is close too, so the last part is compared by itself.
fn nearest(word: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let distance = |known: &str| {
        let whole = strsim::osa_distance(word, known);
        match known.rsplit_once('.') {
            Some((_, last)) if !word.contains('.') => whole.min(strsim::osa_distance(word, last)),
            _ => whole,
        }
    };
    known
        .map(|known| (distance(&known), known))
        .filter(|(distance, _)| *distance <= word.chars().count() / NEAREST_DISTANCE_DIVISOR)
        .min()
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn nearest_key(key: &str) -> Option<String> {
        Schema::new().nearest_key(&path_of(key))
    }

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let keys = Schema::new().dotted_keys();
        let variables: BTreeSet<_> = keys.iter().map(|key| variable_of(key)).collect();
        assert_eq!(variables.len(), keys.len());
        assert!(variables.contains("SLABCAST_ROOM_DEFAULTS_HISTORY_SIZE"));
        assert!(variables.contains("SLABCAST_LISTEN"));
    }

    #[test]
    fn no_key_has_a_variable_that_a_container_platform_sets() {
        for key in Schema::new().dotted_keys() {
            let variable = variable_of(&key);
            assert!(!is_injected(&variable), "{variable}");
        }
    }

    #[test]
    fn every_secret_is_a_key() {
        let keys = Schema::new().dotted_keys();
        for secret in SECRETS {
            assert!(keys.contains(&secret.to_owned()), "{secret}");
        }
    }

    #[test]
    fn keys_without_a_default_are_known() {
        let keys = Schema::new().dotted_keys();
        assert!(keys.contains(&"anonymous".to_owned()));
        assert!(keys.contains(&"limits.connections".to_owned()));
        assert!(keys.contains(&"api.key".to_owned()));
        assert!(keys.contains(&"tokens.public_key_file".to_owned()));
    }

    #[test]
    fn the_nearest_key_is_found_from_a_typing_error() {
        assert_eq!(
            nearest_key("limits.mesage_bytes").as_deref(),
            Some("limits.message_bytes")
        );
        assert_eq!(nearest_key("limit").as_deref(), Some("limits"));
        assert_eq!(
            nearest_key("rooms.chat.solw").as_deref(),
            Some("rooms.chat.slow")
        );
    }

    #[test]
    fn the_nearest_key_is_found_from_its_last_part() {
        assert_eq!(
            nearest_key("mesage_bytes").as_deref(),
            Some("limits.message_bytes")
        );
    }

    #[test]
    fn a_key_that_is_like_no_other_gets_no_guess() {
        assert_eq!(nearest_key("database.url"), None);
    }

    #[test]
    fn a_namespace_may_contain_dots() {
        assert_eq!(path_of("rooms.a.b.slow"), ["rooms", "a.b", "slow"]);
        assert_eq!(path_of("limits.rooms"), ["limits", "rooms"]);
    }
}
