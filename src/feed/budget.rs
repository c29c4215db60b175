//! What all feeds may hold together.
//!
//! Each feed has its lag limit, and whoever reads nothing in many rooms costs each of them one. The
//! budget is for the sum: while more than three quarters of it are used, what a feed keeps for readers
//! that are stalled shrinks, from all of its lag limit to nothing when the budget is used up. So those
//! lag who hold most back, and what readers that are not stalled have still to take stays.

use std::sync::Arc;

use crate::sync::atomic::{AtomicUsize, Ordering};

/// A feed tells the budget when it holds so much more or less than it has told, in bytes. With each
/// append it would cost all rooms a cache line that they fight for; ten times as much would leave that
/// much of every small room uncounted.
const TOLD_BYTES_MIN: usize = 512;

/// What all feeds may hold together.
#[derive(Debug)]
pub struct FeedBudget {
    /// Relaxed: it orders nothing, and a look that comes too early is made up for by the next.
    used_bytes: AtomicUsize,
    bytes_max: usize,
}

impl FeedBudget {
    /// A budget of `bytes_max` bytes of frames, with what it takes to find them.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            used_bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// A budget that is never used up.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// Bytes that all feeds hold now, but for less than 512 in each.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// What it was made with.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether so much is used that feeds keep less than their lag limits.
    pub fn is_short(&self) -> bool {
        self.used_bytes() > self.bytes_max - self.last_quarter()
    }

    /// What a feed may keep for stalled readers of its `lag_bytes`, if that is not all of them.
    pub(super) fn shrunk(&self, lag_bytes: usize) -> Option<usize> {
        let left = self.bytes_max.saturating_sub(self.used_bytes());
        let last_quarter = self.last_quarter();
        // Below `lag_bytes`, as `left` is below `last_quarter`.
        (left < last_quarter)
            .then(|| (lag_bytes as u128 * left as u128 / last_quarter as u128) as usize)
    }

    fn last_quarter(&self) -> usize {
        self.bytes_max / 4
    }
}

/// One feed's part of what is used, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<FeedBudget>,
    told_bytes: usize,
}

impl Share {
    pub(super) fn new(budget: Arc<FeedBudget>) -> Self {
        Self {
            budget,
            told_bytes: 0,
        }
    }

    pub(super) fn budget(&self) -> &FeedBudget {
        &self.budget
    }

    /// Notes what the feed holds now.
    pub(super) fn set(&mut self, bytes: usize) {
        let is_news = bytes.abs_diff(self.told_bytes) >= TOLD_BYTES_MIN || bytes == 0;
        if is_news {
            self.tell(bytes);
        }
    }

    fn tell(&mut self, bytes: usize) {
        let told = std::mem::replace(&mut self.told_bytes, bytes);
        let used = &self.budget.used_bytes;
        if bytes > told {
            used.fetch_add(bytes - told, Ordering::Relaxed);
        } else if bytes < told {
            used.fetch_sub(told - bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.tell(0);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;
    use crate::feed::{Feed, LagLimit, Lagged};

    const KIB: usize = 1024;

    const LAG: LagLimit = LagLimit {
        bytes: 16 * KIB,
        messages: 100_000,
    };

    fn append(feed: &Feed, bytes: usize) {
        let frame = vec![b'x'; bytes];
        feed.append().frame(|out| out.put_slice(&frame));
    }

    /// Feeds that share `bytes_max`.
    fn feeds(count: usize, bytes_max: usize) -> (Arc<FeedBudget>, Vec<Feed>) {
        let budget = Arc::new(FeedBudget::new(bytes_max));
        let feeds = (0..count).map(|_| Feed::within(LAG, budget.clone()));
        (budget.clone(), feeds.collect())
    }

    #[test]
    fn the_lag_limit_is_kept_until_three_quarters_are_used_and_then_shrinks_to_nothing() {
        let budget = FeedBudget::new(1_000);
        for (used, allowance) in [
            (0, None),
            (750, None),
            (751, Some(398)),
            (875, Some(200)),
            (1_000, Some(0)),
            (5_000, Some(0)),
        ] {
            budget.used_bytes.store(used, Ordering::Relaxed);
            assert_eq!(budget.shrunk(400), allowance, "{used}");
            assert_eq!(budget.is_short(), allowance.is_some(), "{used}");
        }
        let unlimited = FeedBudget::unlimited();
        unlimited.used_bytes.store(1 << 40, Ordering::Relaxed);
        assert_eq!(unlimited.shrunk(1 << 30), None);
    }

    #[test]
    fn what_is_used_is_what_feeds_hold_and_goes_with_them() {
        let (budget, feeds) = feeds(2, 1 << 30);
        for feed in &feeds {
            for _ in 0..100 {
                append(feed, 100);
            }
        }
        let used = budget.used_bytes();
        assert!((20_000 - 2 * 512..24_000).contains(&used), "{used}");
        feeds[0].clear();
        let left = budget.used_bytes();
        assert!((10_000 - 512..12_000).contains(&left), "{left}");
        let end = feeds[1].bounds().end;
        feeds[1].raise_low_water(end);
        feeds[1].tidy();
        assert_eq!(budget.used_bytes(), 0, "everybody has had everything");
        append(&feeds[1], 5_000);
        assert!(budget.used_bytes() >= 5_000);
        drop(feeds);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn many_small_frames_are_counted_with_what_it_takes_to_find_them() {
        let (budget, feeds) = feeds(1, 1 << 30);
        for _ in 0..1_000 {
            append(&feeds[0], 2);
            // A reader that takes each by itself makes a chunk of each.
            let end = feeds[0].bounds().end;
            feeds[0].read(end - 1, |_, _| ()).unwrap();
        }
        assert!(budget.used_bytes() > 100_000, "{}", budget.used_bytes());
    }

    #[test]
    fn all_feeds_together_stay_within_their_budget_where_readers_are_stalled() {
        const BYTES_MAX: usize = 64 * KIB;
        let (budget, feeds) = feeds(100, BYTES_MAX);
        for round in 0..200 {
            for feed in &feeds {
                append(feed, 300);
                // A walk that found nobody who is not stalled.
                feed.set_reach(feed.bounds().end);
            }
            let held: usize = feeds.iter().map(Feed::held_bytes).sum();
            // Of each what came last: nobody has been told of it yet.
            let most = BYTES_MAX + feeds.len() * (300 + TOLD_BYTES_MIN);
            assert!(held <= most, "{held} in round {round}");
        }
        assert!(budget.is_short());
        assert_eq!(feeds[0].read(0, |_, _| ()), Err(Lagged));
    }

    #[test]
    fn readers_that_are_not_stalled_keep_their_place_however_little_is_left() {
        let (budget, feeds) = feeds(2, 16 * KIB);
        let (mine, other) = (&feeds[0], &feeds[1]);
        for position in 0..3 {
            append(mine, 100);
            mine.read(position, |_, _| ()).unwrap();
        }
        mine.set_reach(1);
        append(other, 20 * KIB);
        assert!(budget.used_bytes() > budget.bytes_max());
        append(mine, 100);
        assert_eq!(mine.read(0, |_, _| ()), Err(Lagged));
        assert_eq!(mine.read(1, |_, _| ()), Ok(4));
        mine.set_reach(4);
        mine.tidy();
        assert_eq!(mine.read(3, |_, _| ()), Err(Lagged));
        assert_eq!(mine.read(4, |_, _| ()), Ok(4));
    }

    #[test]
    fn a_feed_that_had_to_let_everything_go_holds_no_buffer() {
        let (budget, feeds) = feeds(2, 16 * KIB);
        append(&feeds[0], 700);
        feeds[0].set_reach(1);
        append(&feeds[1], 20 * KIB);
        feeds[0].tidy();
        assert_eq!(feeds[0].held_bytes(), 0);
        assert_eq!(feeds[0].buffer_capacity(), 0);
        assert!(budget.used_bytes() < 21 * KIB);
    }
}
