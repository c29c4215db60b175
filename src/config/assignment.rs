//! One value for one key, whatever layer it comes from: read from text, checked by itself, put into
//! the table of all.

use serde::Deserialize as _;
use toml::{Table, Value};

use super::{
    Config, ConfigError, ConfigWarning, Origin,
    schema::{self, Node, Schema},
};

/// A value as text from outside, with the key it is for.
#[derive(Debug, Clone)]
pub(super) struct Override {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// A value for what stands at a path.
pub(super) struct Assignment {
    pub(super) path: Vec<String>,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Override {
    /// Reads the text as a value of its key's kind.
    pub(super) fn assign(self, schema: &Schema) -> Result<Assignment, ConfigError> {
        let Self { key, text, origin } = self;
        let path = schema::path_of(&key);
        match schema.find(&path) {
            Some(Node::Value(sample)) => Ok(Assignment {
                value: value_like(sample, text),
                path,
                origin,
            }),
            Some(Node::Table) => {
                let problem =
                    "it is a table, not a value (set the keys in it one by one)".to_owned();
                Err(ConfigError::Value {
                    key,
                    origin: Some(origin),
                    problem,
                })
            }
            None => {
                let nearest = schema.nearest_key(&path);
                Err(ConfigError::UnknownKey {
                    key,
                    origin,
                    nearest,
                })
            }
        }
    }
}

impl Assignment {
    /// Removes the newline at the end of a secret, which is its file's and not its own.
    pub(super) fn trim_secret(&mut self) -> Option<ConfigWarning> {
        let key = self.path.join(".");
        let Value::String(text) = &mut self.value else {
            return None;
        };
        if !schema::SECRETS.contains(&&*key) || !text.ends_with('\n') {
            return None;
        }
        let length = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(length);
        let origin = self.origin.clone();
        Some(ConfigWarning::Newline { key, origin })
    }

    /// Whether the value is of its key's kind, which is whether a configuration that consists of
    /// nothing else can be read.
    pub(super) fn check(&self, schema: &Schema) -> Result<(), ConfigError> {
        let mut alone = Table::new();
        put(&mut alone, &self.path, self.value.clone());
        read(alone).map(drop).map_err(|problem| {
            let kind = match schema.find(&self.path) {
                Some(Node::Value(Value::Integer(_))) => Some("a whole number of 0 or more"),
                Some(Node::Value(Value::Boolean(_))) => Some("true or false"),
                Some(Node::Value(Value::Array(_))) => {
                    Some("a list of texts, such as [\"a\", \"b\"]")
                }
                _ => None,
            };
            // Serde names these kinds as Rust does (`usize`), which is nobody else's language.
            let problem = match kind {
                Some(kind) => format!("{} is of the wrong kind (write {kind})", self.value),
                None => problem,
            };
            let (key, origin) = (self.path.join("."), Some(self.origin.clone()));
            ConfigError::Value {
                key,
                origin,
                problem,
            }
        })
    }
}

/// Reads a configuration from `table`; what is missing takes its default. The error says what is
/// wrong, without a place.
pub(super) fn read(table: Table) -> Result<Config, String> {
    Config::deserialize(Value::Table(table)).map_err(|error| error.message().to_owned())
}

/// `text` as a value of the kind of `sample`; as text if it is not of that kind, which is refused
/// later, together with what a file says wrong.
fn value_like(sample: &Value, text: String) -> Value {
    match sample {
        Value::Integer(_) => text
            .trim()
            .parse()
            .map_or(Value::String(text), Value::Integer),
        Value::Boolean(_) => boolean(&text).map_or(Value::String(text), Value::Boolean),
        Value::Array(_) => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            items
                .map(|item| Value::String(item.to_owned()))
                .collect::<Vec<_>>()
                .into()
        }
        _ => Value::String(text),
    }
}

/// The truth value that `text` says, in the spellings of other programs and languages.
fn boolean(text: &str) -> Option<bool> {
    match &*text.trim().to_ascii_lowercase() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Puts `value` at `path`, with the tables on the way. Nothing is lost by putting a table where one
/// is.
pub(super) fn put(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => unreachable!("a path has at least one part"),
        [last] if value.is_table() && table.get(last).is_some_and(Value::is_table) => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = table
                .entry(first)
                .or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = inner else {
                unreachable!("the schema has a table wherever a path goes on")
            };
            put(inner, rest, value);
        }
    }
}
