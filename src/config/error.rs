//! What can be wrong with a configuration, in sentences that name where the value came from, the
//! value, and what would be right.

use std::{
    error::Error,
    fmt::{self, Write as _},
    io,
    path::PathBuf,
};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A line of the configuration file, counted from 1.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line that the key stands in.
        line: usize,
    },
    /// The environment variable of that name.
    Environment(String),
    /// The command line: the flag as the user knows it.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(out, "{} line {line}", path.display()),
            Self::Environment(name) => write!(out, "environment variable {name}"),
            Self::Flag(flag) => out.write_str(flag),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not TOML.
    Syntax {
        /// The file as it was named.
        path: PathBuf,
        /// The line, counted from 1, if it is known.
        line: Option<usize>,
        /// What the parser said.
        source: Box<toml::de::Error>,
    },
    /// Nothing is configured by that key.
    UnknownKey {
        /// The whole key, with dots.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// The value is not of the key's kind.
    Value {
        /// The whole key, with dots.
        key: String,
        /// Where the value stands.
        origin: Option<Origin>,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The value is of the right kind, but not one to run with.
    Invalid {
        /// The keys that have to do with it, the likeliest to blame first.
        keys: Vec<String>,
        /// Where the first of them that was set stands; none if all are defaults, or if the
        /// configuration was not read by [`Layers`](super::Layers).
        origin: Option<Origin>,
        /// What is wrong: value and limit.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
}

impl fmt::Display for ConfigError {
    /// In one line: it is for a terminal, and keys and values may hold what a terminal obeys.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.describe(&mut text)?;
        write_printable(out, &text)
    }
}

impl ConfigError {
    fn describe(&self, out: &mut String) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(
                out,
                "the configuration file {} can't be read: {source} (name a readable file with \
                 --config or SLABCAST_CONFIG)",
                path.display()
            ),
            Self::Syntax { path, line, source } => {
                write!(out, "{}", path.display())?;
                if let Some(line) = line {
                    write!(out, " line {line}")?;
                }
                write!(
                    out,
                    ": {} (`slabcast config default` shows a whole file)",
                    source.message()
                )
            }
            Self::UnknownKey {
                key,
                origin,
                nearest,
            } => {
                write!(out, "{origin}: unknown key {key} ")?;
                remedy_for_name(out, nearest.as_deref())
            }
            Self::Value {
                key,
                origin,
                problem,
            } => {
                write_origin(out, origin.as_ref())?;
                write!(out, "{key}: {problem}")
            }
            Self::Invalid {
                origin,
                problem,
                remedy,
                ..
            } => {
                write_origin(out, origin.as_ref())?;
                write!(out, "{problem} ({remedy})")
            }
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Syntax { source, .. } => Some(source.as_ref()),
            Self::UnknownKey { .. } | Self::Value { .. } | Self::Invalid { .. } => None,
        }
    }
}

/// Writes `text` in one line, without what a terminal would obey.
pub(super) fn write_printable(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| match c {
        // The TOML parser's own.
        '\n' => out.write_char(' '),
        c if c.is_control() => write!(out, "{}", c.escape_unicode()),
        c => out.write_char(c),
    })
}

fn write_origin(out: &mut String, origin: Option<&Origin>) -> fmt::Result {
    origin.map_or(Ok(()), |origin| write!(out, "{origin}: "))
}

fn remedy_for_name(out: &mut String, nearest: Option<&str>) -> fmt::Result {
    match nearest {
        Some(nearest) => write!(out, "(did you mean {nearest}?)"),
        None => out.write_str("(`slabcast config default` lists every key)"),
    }
}
