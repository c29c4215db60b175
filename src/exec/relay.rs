//! From the command's pipes into its room: each line a message, the end the last.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use slabcast::{
    fanout::{Fanout, Pace},
    id::RoomName,
    node::Node,
    publication::Publication,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use super::{
    Ended,
    leash::Running,
    lines::Lines,
    message::{Numbering, Stream},
};

/// How long output is waited for that others still hold the pipes for, once the command has ended.
const LATE_PATIENCE: Duration = Duration::from_secs(1);

/// How much is taken when that patience is over, from those who never stop: as much as both pipes can
/// have held when the command ended.
const LATE_BYTES_MAX: usize = 2 * CHUNK_BYTES;

/// Between looks whether those who read can take more.
const PACE_INTERVAL: Duration = Duration::from_millis(1);

/// What is read at once, in bytes: what a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;

/// Publishes what the command writes until it has ended, and then its end. Reads only as fast as the
/// room's members do, but for those that take nothing at all.
pub(crate) async fn relay<F: Fanout>(
    node: Arc<Node<F>>,
    room: RoomName,
    running: Running,
) -> Ended {
    let Running {
        stdout,
        stderr,
        mut reports,
    } = running;
    let mut relay = Relay {
        node,
        room,
        numbering: Numbering::default(),
        batch: Vec::new(),
    };
    let mut stdout = Tail::new(Stream::Stdout, stdout);
    let mut stderr = Tail::new(Stream::Stderr, stderr);
    let ended = loop {
        tokio::select! {
            // Either pipe as it comes; the end is not missed while they are busy.
            biased;
            ended = reports.ended() => break ended,
            _ = next(&mut stdout, &mut stderr, &mut relay) => {}
        }
        relay.publish().await;
    };
    let deadline = Instant::now() + LATE_PATIENCE;
    let mut late_bytes = 0;
    while stdout.is_open() || stderr.is_open() {
        tokio::select! {
            biased;
            count = next(&mut stdout, &mut stderr, &mut relay) => late_bytes += count,
            () = sleep_until(deadline) => break,
        }
        relay.publish().await;
        if late_bytes > LATE_BYTES_MAX && Instant::now() > deadline {
            break;
        }
    }
    let is_cut = stdout.is_open() || stderr.is_open();
    stdout.finish(&mut relay);
    stderr.finish(&mut relay);
    relay.batch.push(relay.numbering.exit(ended, is_cut));
    relay.publish().await;
    info!(room = %relay.room, ?ended, is_cut, "the command has ended");
    ended
}

/// Reads from whichever has something, and returns how many bytes there were. Pending once both have
/// ended.
async fn next<F: Fanout>(
    stdout: &mut Tail<impl AsyncRead + Unpin>,
    stderr: &mut Tail<impl AsyncRead + Unpin>,
    relay: &mut Relay<F>,
) -> usize {
    tokio::select! {
        count = stdout.read() => {
            stdout.take(relay);
            count
        }
        count = stderr.read() => {
            stderr.take(relay);
            count
        }
    }
}

/// Where it goes.
struct Relay<F: Fanout> {
    node: Arc<Node<F>>,
    room: RoomName,
    numbering: Numbering,
    batch: Vec<Publication>,
}

impl<F: Fanout> Relay<F> {
    /// Publishes what there is, at the pace of those who read. The pipes fill up meanwhile, and the
    /// command waits.
    async fn publish(&mut self) {
        let mut progress = Instant::now();
        while !self.batch.is_empty() {
            let before = self.batch.len();
            let waited = progress.elapsed();
            let pace = Pace::WithinReach { waited };
            let published = self.node.publish_at(&self.room, &mut self.batch, pace);
            if let Err(error) = published.await {
                // The room is kept, so it can always be had.
                warn!(%error, "output is lost");
                self.batch.clear();
            } else if self.batch.len() < before {
                progress = Instant::now();
                tokio::task::yield_now().await;
            } else {
                sleep(PACE_INTERVAL).await;
            }
        }
    }
}

/// One of the command's pipes.
struct Tail<R> {
    stream: Stream,
    pipe: Option<R>,
    chunk: BytesMut,
    lines: Lines,
}

impl<R: AsyncRead + Unpin> Tail<R> {
    fn new(stream: Stream, pipe: R) -> Self {
        Self {
            stream,
            pipe: Some(pipe),
            chunk: BytesMut::with_capacity(CHUNK_BYTES),
            lines: Lines::default(),
        }
    }

    fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads what is there into the chunk. Nothing is lost when it is dropped before it is done.
    async fn read(&mut self) -> usize {
        let Some(pipe) = &mut self.pipe else {
            return std::future::pending().await;
        };
        let count = pipe.read_buf(&mut self.chunk).await.unwrap_or_default();
        if count == 0 {
            self.pipe = None;
        }
        count
    }

    fn take<F: Fanout>(&mut self, relay: &mut Relay<F>) {
        let Self { stream, lines, .. } = self;
        lines.feed(&self.chunk, |piece| {
            relay.batch.push(relay.numbering.line(*stream, &piece));
        });
        self.chunk.clear();
        if !self.is_open() {
            self.finish(relay);
        }
    }

    /// What stands behind the last newline is a line as well.
    fn finish<F: Fanout>(&mut self, relay: &mut Relay<F>) {
        let Self { stream, lines, .. } = self;
        lines.finish(|piece| relay.batch.push(relay.numbering.line(*stream, &piece)));
    }
}
