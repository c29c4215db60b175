//! What the guard tells the server, a line of text for each, and the end that a command has come to.

use std::{fmt, io, str::FromStr};

use rustix::process::Signal;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

/// What a shell adds to a signal's number for the exit code of what it ended.
const SIGNALLED: i32 = 128;

/// What the guard says. At most one of the first two, then at most one of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// The command runs, as this process and process group.
    Started(i32),
    /// It can't be started, for this error of the operating system's.
    Refused(i32),
    /// It has ended.
    Ended(Ended),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, with this exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Nobody knows: the guard was killed, and the command after it.
    Unknown,
}

impl Ended {
    /// The exit code by which a shell would report it.
    pub(crate) fn exit_code(self) -> u8 {
        let code = match self {
            Self::Code(code) => code,
            Self::Signal(number) => SIGNALLED + number,
            Self::Unknown => SIGNALLED + Signal::KILL.as_raw(),
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(pid) => write!(f, "started {pid}"),
            Self::Refused(errno) => write!(f, "refused {errno}"),
            Self::Ended(Ended::Code(code)) => write!(f, "exited {code}"),
            Self::Ended(Ended::Signal(number)) => write!(f, "signalled {number}"),
            Self::Ended(Ended::Unknown) => write!(f, "lost 0"),
        }
    }
}

impl FromStr for Report {
    type Err = io::Error;

    fn from_str(line: &str) -> io::Result<Self> {
        let parts = line
            .split_once(' ')
            .and_then(|(what, number)| Some((what, number.parse().ok()?)));
        Ok(match parts {
            Some(("started", pid)) => Self::Started(pid),
            Some(("refused", errno)) => Self::Refused(errno),
            Some(("exited", code)) => Self::Ended(Ended::Code(code)),
            Some(("signalled", number)) => Self::Ended(Ended::Signal(number)),
            Some(("lost", 0)) => Self::Ended(Ended::Unknown),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

impl Serialize for Ended {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Code(code) => map.serialize_entry("code", code)?,
            Self::Signal(number) => map.serialize_entry("signal", &signal_name(*number))?,
            Self::Unknown => map.serialize_entry("error", "the command's guard was killed")?,
        }
        map.end()
    }
}

/// `SIGTERM` for 15. The numbers differ between systems, so they come from where they are known.
fn signal_name(number: i32) -> String {
    const NAMES: [(Signal, &str); 16] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::SYS, "SIGSYS"),
    ];
    let found = NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
    found.map_or_else(|| format!("SIG{number}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_is_read_as_it_was_written() {
        for report in [
            Report::Started(17),
            Report::Refused(2),
            Report::Ended(Ended::Code(3)),
            Report::Ended(Ended::Signal(9)),
            Report::Ended(Ended::Unknown),
        ] {
            assert_eq!(report.to_string().parse::<Report>().unwrap(), report);
        }
        for line in ["", "started", "started x", "exited 1 ", "gone 1"] {
            assert!(line.parse::<Report>().is_err(), "{line}");
        }
    }

    #[test]
    fn an_end_is_shown_by_its_code_or_its_signals_name() {
        let shown = |ended: Ended| serde_json::to_string(&ended).unwrap();
        assert_eq!(shown(Ended::Code(0)), r#"{"code":0}"#);
        assert_eq!(shown(Ended::Signal(9)), r#"{"signal":"SIGKILL"}"#);
        assert_eq!(shown(Ended::Signal(15)), r#"{"signal":"SIGTERM"}"#);
        assert_eq!(shown(Ended::Signal(6)), r#"{"signal":"SIGABRT"}"#);
        assert_eq!(shown(Ended::Signal(40)), r#"{"signal":"SIG40"}"#);
    }

    #[test]
    fn an_exit_code_is_the_one_that_a_shell_would_report() {
        assert_eq!(Ended::Code(7).exit_code(), 7);
        assert_eq!(Ended::Signal(15).exit_code(), 143);
        assert_eq!(Ended::Unknown.exit_code(), 137);
    }
}
