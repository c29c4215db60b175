//! Why a load run can't be made. Each says which value, which limit, and what to do.

use std::{fmt, io, time::Duration};

use super::wire::WireError;

/// Why a load run can't be made, or had to end.
#[derive(Debug)]
pub(crate) enum LoadError {
    Url {
        url: String,
        problem: &'static str,
    },
    Resolve {
        url: String,
        source: io::Error,
    },
    /// A number of the plan's that can't be.
    Value {
        name: &'static str,
        value: String,
        problem: String,
    },
    Descriptors {
        needed: u64,
        limit: u64,
    },
    NoProcess {
        pid: u32,
    },
    Join {
        url: String,
        joined: usize,
        wanted: usize,
        source: End,
    },
    /// Nothing that was published came to these.
    Silent {
        url: String,
        silent: usize,
        wanted: usize,
        waited: Duration,
    },
    NoEar {
        publisher: usize,
    },
    Refused {
        code: u64,
        message: String,
    },
    System {
        what: &'static str,
        source: io::Error,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, problem } => write!(out, "\"{url}\": {problem}"),
            Self::Resolve { url, source } => {
                write!(
                    out,
                    "\"{url}\": no address for that host: {source} (check the name)"
                )
            }
            Self::Value {
                name,
                value,
                problem,
            } => write!(out, "{name} is {value}: {problem}"),
            Self::Descriptors { needed, limit } => write!(
                out,
                "{needed} descriptors are needed and the limit is {limit} (take fewer connections, \
                 or raise the hard limit: ulimit -Hn)"
            ),
            Self::NoProcess { pid } => write!(
                out,
                "server-pid is {pid}: nothing can be read of that process (check the number; it has \
                 to be on this machine)"
            ),
            Self::Join {
                url,
                joined,
                wanted,
                source,
            } => write!(
                out,
                "{url}: {joined} of {wanted} connections had joined when one failed: {source}"
            ),
            Self::Silent {
                url,
                silent,
                wanted,
                waited,
            } => write!(
                out,
                "{url}: {silent} of {wanted} connections heard nothing of what others published, \
                 for {} s (is this the URL of a room that broadcasts, and --speech what it speaks?)",
                waited.as_secs()
            ),
            Self::NoEar { publisher } => write!(
                out,
                "this server does not send a message back to who sent it, and publisher {publisher} \
                 has no other receiver beside it to go by (give a rate instead of a window, or more \
                 connections for each thread)"
            ),
            Self::Refused { code, message } => write!(
                out,
                "the server refused a command with error {code}: {message} (its limits or \
                 permissions may have to allow this load)"
            ),
            Self::System { what, source } => write!(out, "{what}: {source}"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { source, .. } | Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// How a connection ended before we wanted it to.
#[derive(Debug)]
pub(crate) enum End {
    Io(io::Error),
    /// The answer to the opening handshake was another one than 101.
    Status {
        code: u16,
        body: String,
    },
    Handshake(&'static str),
    TooSlow(Duration),
    /// The stream ended without a word.
    Eof,
    Close {
        code: Option<u16>,
        reason: String,
    },
    Wire(WireError),
    /// An error reply, which ends the run.
    Refused {
        code: u64,
        message: String,
    },
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(out, "{error}{}", remedy(error)),
            Self::Status { code, body } => write!(
                out,
                "the server answered {code} instead of 101: {body} (check the URL and the server's \
                 limits)"
            ),
            Self::Handshake(problem) => write!(out, "the opening handshake: {problem}"),
            Self::TooSlow(waited) => write!(
                out,
                "it was not joined after {} s (is the server overloaded?)",
                waited.as_secs()
            ),
            Self::Eof => out.write_str(
                "the server ended it without a word (its descriptor or connection limit?)",
            ),
            Self::Close {
                code: Some(code),
                reason,
            } => write!(out, "the server closed it with {code} \"{reason}\""),
            Self::Close { code: None, .. } => {
                out.write_str("the server closed it without a reason")
            }
            Self::Wire(error) => error.fmt(out),
            Self::Refused { code, message } => write!(out, "error reply {code}: {message}"),
        }
    }
}

/// What to do about an error of the system's, where that is known.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => " (is the server running, and on that port?)",
        io::ErrorKind::AddrNotAvailable => {
            " (all local ports to this address are taken: widen net.ipv4.ip_local_port_range, or \
             take fewer connections)"
        }
        io::ErrorKind::ConnectionReset => " (its descriptor or connection limit?)",
        _ => "",
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rustix::io::Errno> for End {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}
