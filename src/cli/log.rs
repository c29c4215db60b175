//! Where log lines go and how they look.
//!
//! A thread of its own writes them. Whoever reads the log may be slow, or stuck, with a full pipe before
//! it, and then a line that is written where it is made would stop the session that it is about, and soon
//! the whole server. So lines wait in a queue, and those that find it full are left out and counted.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use slabcast::config::LogFormat;
use tracing::error;
use tracing_subscriber::EnvFilter;

/// What never gets into a log line, whatever the filter says: the WebSocket library traces payloads.
const PAYLOADS_OFF: &str = "tungstenite=off";

/// Lines that may wait. A burst of a tenth would lose lines that a slow terminal had still shown; ten
/// times as many are megabytes for nobody.
const WAITING_MAX: usize = 4096;

/// How long the end of the program waits for the last lines to be taken.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);

/// Between two tries to be the last in the queue.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// What the writing thread is given.
enum Entry {
    Line(Vec<u8>),
    /// Behind the last line. Whoever waits for that is told.
    End(Sender<()>),
}

/// The way to the log, for as long as the program runs: dropped, it waits for the last lines.
pub(super) struct Log(SyncSender<Entry>);

/// Sends what `filter` admits to standard error, from now on and from every thread.
///
/// # Errors
/// The operating system's, if there can't be another thread.
pub(super) fn start(filter: EnvFilter, format: LogFormat) -> io::Result<Log> {
    let (queue, entries) = mpsc::sync_channel(WAITING_MAX);
    let left_out = Arc::new(AtomicU64::new(0));
    let writing = left_out.clone();
    thread::Builder::new()
        .name("log".into())
        .spawn(move || write_out(&entries, &writing))?;
    let log = Log(queue.clone());
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let filter = filter.add_directive(PAYLOADS_OFF.parse().expect("a directive"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Line {
            queue: queue.clone(),
            left_out: left_out.clone(),
        })
        .with_ansi(io::stderr().is_terminal() && !no_color)
        // What can't be formatted would be complained about on standard error, at once and in place.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(log)
}

/// Writes what comes, and says how much did not.
fn write_out(entries: &Receiver<Entry>, left_out: &AtomicU64) {
    loop {
        let entry = match entries.try_recv() {
            Ok(entry) => entry,
            Err(_) => {
                // Only now that there is room for it: else it would be left out itself.
                say_left_out(left_out);
                let Ok(entry) = entries.recv() else { return };
                entry
            }
        };
        match entry {
            Entry::Line(line) => {
                // A full disk, or a reader that is gone: there is nobody to be told.
                let _ = io::stderr().write_all(&line);
            }
            Entry::End(done) => {
                // Who has stopped waiting needs no answer.
                let _ = done.send(());
            }
        }
    }
}

/// An error, so that a filter which admits anything admits it.
fn say_left_out(left_out: &AtomicU64) {
    let lines = left_out.swap(0, Ordering::Relaxed);
    if lines > 0 {
        error!(
            lines,
            "log lines were left out: they were not read fast enough"
        );
    }
}

/// Takes one line, which comes in one piece, and waits for nobody.
struct Line {
    queue: SyncSender<Entry>,
    left_out: Arc<AtomicU64>,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Entry::Line(line.to_vec())).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let deadline = Instant::now() + LAST_LINES_WITHIN;
        let (done, is_done) = mpsc::channel();
        // Waiting in the queue itself could be for ever.
        while self.0.try_send(Entry::End(done.clone())).is_err() {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(RETRY_INTERVAL);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = is_done.recv_timeout(left);
    }
}
