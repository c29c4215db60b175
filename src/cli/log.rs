//! Where log lines go and how they look.
//!
//! A thread of its own writes them. Whoever reads the log may be slow, or stuck, with a full pipe before
//! it, and then a line that is written where it is made would stop the session that it is about, and soon
//! the whole server. So lines wait in a queue, and those that find it full are left out and counted.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fs::File,
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd as _,
    panic::{self, PanicHookInfo},
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
/// The operating system's, if there can't be another thread, or another descriptor.
pub(super) fn start(filter: EnvFilter, format: LogFormat) -> io::Result<Log> {
    let (queue, entries) = mpsc::sync_channel(WAITING_MAX);
    let left_out = Arc::new(AtomicU64::new(0));
    let writing = left_out.clone();
    // Not by `io::stderr`, whose lock it would hold for as long as nobody reads.
    let out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    thread::Builder::new()
        .name("log".into())
        .spawn(move || write_out(&entries, &out, &writing))?;
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
    panic::set_hook(Box::new(say_panicked));
    Ok(log)
}

/// Writes what comes, and says how much did not.
fn write_out(entries: &Receiver<Entry>, mut out: impl Write, left_out: &AtomicU64) {
    // A full disk, or a reader that is gone: there is nobody to be told.
    let mut write = |line: &[u8]| drop(out.write_all(line));
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
            Entry::Line(line) => write(&line),
            Entry::End(done) => {
                // There will be no better moment to say it.
                say_left_out(left_out);
                while let Ok(Entry::Line(line)) = entries.try_recv() {
                    write(&line);
                }
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

/// Says that a bug has panicked, as a line like any other: written where it happens, it would stop that
/// thread for as long as nobody reads.
fn say_panicked(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    error!(panic = ?panic.to_string(), backtrace, "a bug has panicked");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the lines of a test go.
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_one_line_of_the_log() {
        let lines = Lines::default();
        let made = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || made.clone());
        let before = panic::take_hook();
        panic::set_hook(Box::new(say_panicked));
        let panicked = tracing::subscriber::with_default(subscriber.finish(), || {
            panic::catch_unwind(|| panic!("two\nlines"))
        });
        panic::set_hook(before);
        assert!(panicked.is_err());
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("src/cli/log.rs") && text.contains("two\\nlines"),
            "{text}"
        );
    }

    /// Says what it is given, and whether somebody has been told by then that it was the end.
    struct Watching {
        is_done: Receiver<()>,
        said: Sender<(String, bool)>,
    }

    impl Write for Watching {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(line).into_owned();
            let _ = self.said.send((text, self.is_done.try_recv().is_ok()));
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_left_out_is_said_before_the_end() {
        let (queue, entries) = mpsc::sync_channel(2);
        let left_out = Arc::new(AtomicU64::new(0));
        let (lines, missing) = (queue.clone(), left_out.clone());
        let line = move || Line {
            queue: lines.clone(),
            left_out: missing.clone(),
        };
        line().write_all(b"first").unwrap();
        let (done, is_done) = mpsc::channel();
        queue.try_send(Entry::End(done)).ok().unwrap();
        for _ in 0..3 {
            line().write_all(b"more").unwrap();
        }
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(line);
        let (said, lines) = mpsc::channel();
        // It waits for further lines when the test ends, and goes with the process.
        thread::spawn(move || {
            tracing::subscriber::with_default(subscriber.finish(), || {
                write_out(&entries, Watching { is_done, said }, &left_out);
            });
        });
        assert_eq!(lines.recv().unwrap(), ("first".to_owned(), false));
        let (last, is_late) = lines.recv().unwrap();
        assert!(last.contains("lines=3") && !is_late, "{last}, {is_late}");
    }
}
