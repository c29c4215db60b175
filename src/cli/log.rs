//! Where log lines go and how they look.

use std::io::{self, IsTerminal as _};

use slabcast::config::LogFormat;
use tracing_subscriber::EnvFilter;

/// What never gets into a log line, whatever the filter says: the WebSocket library traces payloads.
const PAYLOADS_OFF: &str = "tungstenite=off";

/// Sends what `filter` admits to standard error, from now on and from every thread.
pub(super) fn start(filter: EnvFilter, format: LogFormat) {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let filter = filter.add_directive(PAYLOADS_OFF.parse().expect("a directive"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !no_color)
        // A line that can't be written would be complained about on standard error, where it can't
        // be written either, and that panics.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}
