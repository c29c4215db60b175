//! Reads a configuration file into assignments, each with the line that it stands in.

use std::path::Path;

use serde::{Deserialize as _, de::IntoDeserializer as _};
use toml::{
    Spanned, Value,
    de::{DeTable, DeValue},
};

use super::{
    ConfigError, Origin,
    assignment::Assignment,
    schema::{Node, Schema},
};

/// Reads the file's assignments, in no particular order.
pub(super) fn read(schema: &Schema, path: &Path) -> Result<Vec<Assignment>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let table = DeTable::parse(&text).map_err(|source| ConfigError::Syntax {
        path: path.to_owned(),
        line: source.span().map(|span| line_at(&text, span.start)),
        source: source.into(),
    })?;
    let mut walk = Walk {
        schema,
        file: path,
        text: &text,
        found: Vec::new(),
    };
    walk.table(&[], table.get_ref())?;
    Ok(walk.found)
}

struct Walk<'a> {
    schema: &'a Schema,
    file: &'a Path,
    text: &'a str,
    found: Vec<Assignment>,
}

impl Walk<'_> {
    fn table(&mut self, parent: &[String], table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (key, value) in table {
            let mut path = parent.to_vec();
            path.push(key.get_ref().clone().into_owned());
            let line = line_at(self.text, key.span().start);
            let origin = Origin::File {
                path: self.file.to_owned(),
                line,
            };
            match (self.schema.find(&path), value.get_ref()) {
                (None, _) => {
                    let nearest = self.schema.nearest_key(&path);
                    return Err(ConfigError::UnknownKey {
                        key: path.join("."),
                        origin,
                        nearest,
                    });
                }
                (Some(Node::Value(_)), _) => {
                    let value = self.value(value)?;
                    self.found.push(Assignment {
                        path,
                        value,
                        origin,
                    });
                }
                (Some(Node::Table), DeValue::Table(inner)) => {
                    // A namespace is there even if nothing is set in it.
                    let value = Value::Table(toml::Table::new());
                    self.found.push(Assignment {
                        path: path.clone(),
                        value,
                        origin,
                    });
                    self.table(&path, inner)?;
                }
                (Some(Node::Table), _) => {
                    let key = path.join(".");
                    let problem = format!("it is a table, not a value (write [{key}])");
                    return Err(ConfigError::Value {
                        key,
                        origin: Some(origin),
                        problem,
                    });
                }
            }
        }
        Ok(())
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Result<Value, ConfigError> {
        // What parses may still not fit: an integer of more than 64 bits.
        Value::deserialize(value.clone().into_deserializer()).map_err(|source| {
            ConfigError::Syntax {
                path: self.file.to_owned(),
                line: Some(line_at(self.text, value.span().start)),
                source: source.into(),
            }
        })
    }
}

/// The line of the byte at `offset`, counted from 1.
fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::config::Layers;

    /// What is said of a file of that text, without its path.
    fn refusal(text: &str) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let error = Layers::new()
            .file(file.path())
            .load()
            .unwrap_err()
            .to_string();
        error.replace(file.path().to_str().unwrap(), "FILE")
    }

    #[test]
    fn a_file_that_is_not_there_is_refused_by_name() {
        let error = Layers::new()
            .file("/nowhere/slabcast.toml")
            .load()
            .unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }));
        assert!(std::error::Error::source(&error).is_some());
        assert!(
            error.to_string().contains("/nowhere/slabcast.toml"),
            "{error}"
        );
    }

    #[test]
    fn broken_toml_is_refused_with_its_line() {
        let refusal = refusal("# first\n\nlisten = \n");
        assert!(refusal.starts_with("FILE line 3: "), "{refusal}");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_not_said() {
        for text in [
            "\"a\\u001b[31m\" = 1",
            "[limits]\nmessage_bytes = \"1\\u001b[2J\"",
            "[timeouts]\nping = \"\\u009b31m\"",
            "listen = \"\\n\"",
        ] {
            let refusal = refusal(text);
            assert!(!refusal.contains(char::is_control), "{refusal:?}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_line_and_whole_path() {
        for (text, said) in [
            (
                "\nlisen = 'x'",
                "FILE line 2: unknown key lisen (did you mean listen?)",
            ),
            (
                "[limit]\nrooms = 1",
                "FILE line 1: unknown key limit (did you mean limits?)",
            ),
            (
                "[limits]\n\nroms = 1",
                "FILE line 3: unknown key limits.roms (did you mean limits.rooms?)",
            ),
            (
                "[rooms.chat]\nsolw = 'skip'",
                "FILE line 2: unknown key rooms.chat.solw (did you mean rooms.chat.slow?)",
            ),
            (
                "[database]\nurl = 'x'",
                "FILE line 1: unknown key database (`slabcast config default` lists every key)",
            ),
        ] {
            assert_eq!(refusal(text), said);
        }
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused_with_the_right_one() {
        for (text, said) in [
            (
                "limits.rooms = -1",
                "limits.rooms: -1 is of the wrong kind (write a whole number of",
            ),
            (
                "anonymous = 'yes'",
                "anonymous: \"yes\" is of the wrong kind (write true or false)",
            ),
            (
                "allowed_hosts = 'a'",
                "allowed_hosts: \"a\" is of the wrong kind (write a list of",
            ),
            (
                "timeouts.ping = 30",
                "timeouts.ping: invalid type: integer `30`, expected a whole",
            ),
            (
                "timeouts.ping = '30'",
                "timeouts.ping: \"30\" is not a duration (write a whole",
            ),
            (
                "limits.head_bytes = '9k'",
                "limits.head_bytes: \"9k\" is not a size (write a whole",
            ),
            (
                "limits.head_bytes = -9",
                "limits.head_bytes: invalid value: integer `-9`, expected a",
            ),
            (
                "listen = 'localhost:80'",
                "listen: \"localhost:80\" is not an address to listen on",
            ),
            (
                "log.format = 'xml'",
                "log.format: unknown variant `xml`, expected `text` or `json`",
            ),
            (
                "limits = 4",
                "limits: it is a table, not a value (write [limits])",
            ),
            (
                "rooms.chat = 4",
                "rooms.chat: it is a table, not a value (write [rooms.chat])",
            ),
        ] {
            let refusal = refusal(text);
            assert!(
                refusal.starts_with(&format!("FILE line 1: {said}")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_table_where_a_value_belongs_is_refused() {
        assert!(refusal("[listen]\nport = 4").starts_with("FILE line 1: listen: invalid type"));
    }

    #[test]
    fn a_number_too_large_for_toml_is_refused_with_its_line() {
        let refusal = refusal("\nlimits.rooms = 99999999999999999999999");
        assert!(refusal.starts_with("FILE line 2: "), "{refusal}");
    }
}
