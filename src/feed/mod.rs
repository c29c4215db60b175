//! A room's encoded frames for one dialect: appended once, read by everybody.
//!
//! Frames go into a tail. The first reader that finds a tail seals it into a [`Chunk`], which every
//! reader after it shares: one batch, contiguous, without a copy or a reference count per frame. A
//! reader's place is a position: the number of the first frame that it has not had. It owns nothing
//! but the chunk that it is in the middle of writing.
//!
//! Frames that everybody has had are let go with the next append. So are those further behind than
//! the lag limit, whoever still wants them: a reader that finds its place gone has lagged, and what
//! follows from that is its own affair. A feed therefore costs its lag limit once, however many
//! readers stall. The limit is kept to the chunk: at least `bytes` and `messages` stay readable, and
//! never more than one chunk beside them. Feeds also have a [budget](FeedBudget) together, which each of
//! them lets know what it takes; whoever looks after that may have it [let go](Feed::shed) sooner.
//!
//! Knows bytes and frame boundaries. Doesn't know what is in a frame, nor who reads.

use std::sync::Arc;

use bytes::BytesMut;

use crate::sync::{
    RwLock, RwLockWriteGuard,
    atomic::{AtomicU64, Ordering},
};

mod budget;
mod chunk;
mod log;

pub use budget::FeedBudget;
pub use chunk::Chunk;
use log::Log;

/// The largest buffer of a feed, in bytes. A frame that is larger gets one of its own size. Ten times
/// as much would make the lag limit coarse; a tenth would cut batches that one write could take.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// A tail is sealed at this part of the lag limit at the latest, so that the limit is kept to about
/// as much when nobody reads.
const CHUNKS_PER_LAG: usize = 16;

/// While the budget is short, publishers wait for readers that are so much nearer, in eighths of the lag
/// limit: those that wait first, for whoever has anything to read.
const EIGHTHS_LESS_WHILE_SHORT: usize = 3;

/// How far behind a reader may fall.
#[derive(Debug, Clone, Copy)]
pub struct LagLimit {
    /// In bytes of frames.
    pub bytes: usize,
    /// In frames.
    pub messages: usize,
}

/// A reader's place is no longer in the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged;

/// What a feed holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The position of the oldest frame that can still be read.
    pub oldest: u64,
    /// The position that the next frame will have.
    pub end: u64,
}

/// A room's encoded frames for one dialect.
#[derive(Debug)]
pub struct Feed {
    /// Guards tail and chunks. Last in the lock order: readers and the appender hold it for moments,
    /// and nothing else is locked under it. An `RwLock`, because all readers of a batch come at once.
    log: RwLock<Log>,
    /// Everybody has had the frames before this position. Raised by whoever walked the readers, used
    /// by the next append, so that letting go costs no lock of its own.
    low_water: AtomicU64,
    /// The least position of a reader that is not stalled, as the last walk found it.
    reach: AtomicU64,
    lag: LagLimit,
}

impl Feed {
    /// An empty feed with a budget of its own, which is never used up.
    #[must_use]
    pub fn new(lag: LagLimit) -> Self {
        Self::within(lag, Arc::new(FeedBudget::unlimited()))
    }

    /// An empty feed, which holds no buffer, and shares `budget` with others.
    #[must_use]
    pub fn within(lag: LagLimit, budget: Arc<FeedBudget>) -> Self {
        Self {
            log: RwLock::new(Log::new(budget)),
            low_water: AtomicU64::new(0),
            reach: AtomicU64::new(0),
            lag,
        }
    }

    /// What can be read.
    pub fn bounds(&self) -> Bounds {
        let log = self.log.read();
        Bounds {
            oldest: log.oldest,
            end: log.end,
        }
    }

    #[cfg(test)]
    fn buffer_capacity(&self) -> usize {
        self.log.read().tail.capacity()
    }

    /// Bytes of frames that it holds.
    pub fn held_bytes(&self) -> usize {
        self.log.read().held_bytes
    }

    /// Locks the feed for a batch of appends.
    pub fn append(&self) -> Append<'_> {
        let mut log = self.log.write();
        self.let_go(&mut log);
        let begin = log.end;
        let begin_bytes = log.appended_bytes;
        Append {
            feed: self,
            log,
            begin,
            begin_bytes,
        }
    }

    /// Hands `take` every chunk from position `from` on, the first one with the byte to begin at, and
    /// returns the position after the last.
    ///
    /// # Errors
    /// [`Lagged`], and nothing handed over, when `from` is no longer held.
    pub fn read(&self, from: u64, mut take: impl FnMut(&Arc<Chunk>, usize)) -> Result<u64, Lagged> {
        let mut log = self.log.read();
        if !log.tail.is_empty() {
            drop(log);
            let mut writer = self.log.write();
            // Somebody else may have sealed it in between: then there is nothing left to do.
            writer.seal();
            log = RwLockWriteGuard::downgrade(writer);
        }
        if from < log.oldest {
            return Err(Lagged);
        }
        // Readers are mostly one chunk behind, so the search begins at the new end.
        let behind = log
            .chunks
            .iter()
            .rev()
            .take_while(|chunk| chunk.end() > from)
            .count();
        let mut offset = None;
        for chunk in log.chunks.range(log.chunks.len() - behind..) {
            take(chunk, *offset.get_or_insert_with(|| chunk.offset_of(from)));
            offset = Some(0);
        }
        Ok(log.end)
    }

    /// Notes that everybody has had the frames before `position`.
    pub fn raise_low_water(&self, position: u64) {
        self.low_water.fetch_max(position, Ordering::Relaxed);
    }

    /// Notes the least position of a reader that is not stalled.
    pub fn set_reach(&self, position: u64) {
        self.reach.store(position, Ordering::Relaxed);
    }

    /// Lets go of what everybody has had, and of the buffer if nothing is left in it.
    pub fn tidy(&self) {
        let mut log = self.log.write();
        if self.low_water.load(Ordering::Relaxed) >= log.end {
            log.clear();
        } else {
            self.let_go(&mut log);
        }
        log.settle();
    }

    /// Lets go of what is before `position`, whoever still wants it, and of the buffer if nothing is left
    /// in it.
    pub fn shed(&self, position: u64) {
        let mut log = self.log.write();
        log.shed(position);
        log.settle();
    }

    /// Lets go of everything: nobody reads any more.
    pub fn clear(&self) {
        let mut log = self.log.write();
        log.clear();
        log.settle();
    }

    fn let_go(&self, log: &mut Log) {
        log.let_go(self.low_water.load(Ordering::Relaxed), self.lag);
    }
}

/// The right to append, held for one batch.
#[derive(Debug)]
pub struct Append<'a> {
    feed: &'a Feed,
    log: RwLockWriteGuard<'a, Log>,
    begin: u64,
    begin_bytes: u64,
}

impl Append<'_> {
    /// Appends the frame that `encode` writes; if it writes none, nothing happened.
    pub fn frame(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let log = &mut *self.log;
        log.append(encode);
        let tail_is_full = log.tail.len()
            >= (self.feed.lag.bytes / CHUNKS_PER_LAG).min(BUFFER_BYTES_MAX)
            || log.tail_ends.len() >= self.feed.lag.messages / CHUNKS_PER_LAG;
        if tail_is_full {
            log.seal();
            self.feed.let_go(log);
        }
    }

    /// Whether a reader that is not stalled has more than so many eighths of the lag limit before it, or
    /// three fewer while the budget is short: what it has not had stands in the way of others. Whoever
    /// waits for it then keeps it from lagging by no fault of its own.
    #[must_use]
    pub fn is_behind(&self, eighths: usize) -> bool {
        let eighths = if self.log.budget().is_short() {
            eighths.saturating_sub(EIGHTHS_LESS_WHILE_SHORT)
        } else {
            eighths
        };
        let LagLimit { bytes, messages } = self.feed.lag;
        let part = |limit: usize| (limit / 8).saturating_mul(eighths);
        let reach = self.reach();
        (self.log.end - reach) as usize > part(messages)
            || (reach < self.log.end && self.log.bytes_since(reach) > part(bytes))
    }

    /// Whether all feeds together hold all that they may. Those that hold too much are seen to in a
    /// moment, and whoever waits for it keeps the rest from growing meanwhile.
    #[must_use]
    pub fn is_out_of_budget(&self) -> bool {
        self.log.budget().is_used_up()
    }

    /// The least position of a reader that is not stalled, as the last walk found it.
    #[must_use]
    pub fn reach(&self) -> u64 {
        self.feed.reach.load(Ordering::Relaxed).min(self.log.end)
    }

    /// Whether this batch is as large as one should be: an eighth of the lag limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let LagLimit { bytes, messages } = self.feed.lag;
        (self.log.end - self.begin) as usize >= (messages / 8).max(1)
            || (self.log.appended_bytes - self.begin_bytes) as usize >= bytes / 8
    }

    /// The position that the first frame of this batch has.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// What can be read once this is dropped.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            oldest: self.log.oldest,
            end: self.log.end,
        }
    }
}

impl Drop for Append<'_> {
    fn drop(&mut self) {
        self.log.settle();
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    const WIDE: LagLimit = LagLimit {
        bytes: 1 << 20,
        messages: 4096,
    };

    fn append(feed: &Feed, frames: &[&[u8]]) {
        let mut append = feed.append();
        for frame in frames {
            append.frame(|out| out.put_slice(frame));
        }
    }

    fn read(feed: &Feed, from: u64) -> Result<(Vec<u8>, u64), Lagged> {
        let mut bytes = Vec::new();
        let end = feed.read(from, |chunk, at| {
            bytes.extend_from_slice(&chunk.bytes()[at..])
        })?;
        Ok((bytes, end))
    }

    #[test]
    fn every_reader_gets_everything_from_its_position_on() {
        let feed = Feed::new(WIDE);
        append(&feed, &[b"a", b"bb"]);
        assert_eq!(read(&feed, 0), Ok((b"abb".to_vec(), 2)));
        append(&feed, &[b"ccc"]);
        assert_eq!(read(&feed, 2), Ok((b"ccc".to_vec(), 3)));
        assert_eq!(read(&feed, 1), Ok((b"bbccc".to_vec(), 3)));
        assert_eq!(read(&feed, 3), Ok((Vec::new(), 3)));
    }

    #[test]
    fn a_frame_that_is_not_encoded_takes_no_position() {
        let feed = Feed::new(WIDE);
        feed.append().frame(|_| ());
        assert_eq!(feed.bounds(), Bounds { oldest: 0, end: 0 });
    }

    #[test]
    fn what_everybody_has_had_is_let_go() {
        let feed = Feed::new(WIDE);
        append(&feed, &[b"a"]);
        read(&feed, 0).unwrap();
        append(&feed, &[b"b"]);
        read(&feed, 1).unwrap();
        feed.raise_low_water(1);
        append(&feed, &[b"c"]);
        assert_eq!(feed.bounds(), Bounds { oldest: 1, end: 3 });
        assert_eq!(read(&feed, 0), Err(Lagged));
        feed.raise_low_water(3);
        feed.tidy();
        assert_eq!(feed.bounds(), Bounds { oldest: 3, end: 3 });
        assert_eq!(feed.buffer_capacity(), 0, "an idle feed holds no buffer");
    }

    #[test]
    fn unread_frames_stay_within_the_lag_limit_and_a_chunk() {
        let lag = LagLimit {
            bytes: 16 * 1024,
            messages: 1_000_000,
        };
        let feed = Feed::new(lag);
        for _ in 0..10_000 {
            append(&feed, &[&[b'x'; 100]]);
            let held = feed.held_bytes();
            assert!(
                held <= lag.bytes + lag.bytes / CHUNKS_PER_LAG + 200,
                "{held}"
            );
        }
        assert!(
            feed.held_bytes() >= lag.bytes,
            "nobody within the limit has lagged"
        );

        let feed = Feed::new(LagLimit {
            bytes: 1 << 20,
            messages: 64,
        });
        for _ in 0..1_000 {
            append(&feed, &[b"x"]);
        }
        let Bounds { oldest, end } = feed.bounds();
        assert!(
            (64..=64 + 64 / 16).contains(&(end - oldest)),
            "{}",
            end - oldest
        );
    }

    #[test]
    fn a_lagging_reader_is_told_and_one_at_the_edge_is_not() {
        let feed = Feed::new(LagLimit {
            bytes: 1 << 20,
            messages: 32,
        });
        for _ in 0..100 {
            append(&feed, &[b"x"]);
        }
        let oldest = feed.bounds().oldest;
        assert_eq!(read(&feed, oldest - 1), Err(Lagged));
        assert_eq!(read(&feed, oldest).unwrap().1, 100);
    }

    #[test]
    fn positions_and_offsets_agree() {
        let feed = Feed::new(WIDE);
        append(&feed, &[b"a", b"bb", b"ccc"]);
        feed.read(0, |chunk, _| {
            assert_eq!(
                (0..3).map(|p| chunk.offset_of(p)).collect::<Vec<_>>(),
                [0, 1, 3]
            );
            assert_eq!(
                (0..=6).map(|b| chunk.position_at(b)).collect::<Vec<_>>(),
                [0, 1, 1, 2, 2, 2, 3]
            );
        })
        .unwrap();
    }
}
