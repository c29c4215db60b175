//! What is odd about a configuration that one can run with all the same.

use std::fmt::{self, Write as _};

use super::{Origin, error::write_printable};

/// What a configuration was read in spite of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigWarning {
    /// An environment variable begins with `SLABCAST_` and stands for no key. It is ignored.
    UnknownVariable {
        /// The variable.
        name: String,
        /// The variable that was probably meant.
        nearest: Option<String>,
    },
    /// A secret ended in a newline, which was removed.
    Newline {
        /// The whole key, with dots.
        key: String,
        /// Where the secret stands.
        origin: Origin,
    },
}

impl fmt::Display for ConfigWarning {
    /// In one line: names come from outside, and may hold what a terminal obeys.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.describe(&mut text)?;
        write_printable(out, &text)
    }
}

impl ConfigWarning {
    fn describe(&self, out: &mut String) -> fmt::Result {
        match self {
            Self::UnknownVariable { name, nearest } => {
                write!(
                    out,
                    "the environment variable {name} is unknown and ignored "
                )?;
                match nearest {
                    Some(nearest) => write!(out, "(did you mean {nearest}?)"),
                    None if is_injected(name) => out.write_str(
                        "(Kubernetes and Docker set it for a service of that name; a pod does \
                         without it with enableServiceLinks: false)",
                    ),
                    None if name.starts_with("SLABCAST_ROOMS_") => out.write_str(
                        "(set namespaces in the file or with --set rooms.<namespace>.<key>=<value>: \
                         a variable can't spell their names)",
                    ),
                    None => out.write_str("(`slabcast config default` lists every key)"),
                }
            }
            Self::Newline { key, origin } => write!(
                out,
                "{origin}: {key} ended in a newline, which was removed (write it without one: \
                 printf '%s' instead of echo)"
            ),
        }
    }
}

/// Whether a container platform makes variables of that name, for a service that it runs: Kubernetes'
/// service variables and Docker's links.
pub(super) fn is_injected(name: &str) -> bool {
    let is_port = |rest: &str| {
        rest.is_empty()
            || rest.starts_with(|c: char| {
                c == '_' && rest[1..].starts_with(|c: char| c.is_ascii_digit())
            })
    };
    name.match_indices("_PORT")
        .any(|(at, part)| is_port(&name[at + part.len()..]))
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_ENV_")
        || name.ends_with("_NAME")
}
