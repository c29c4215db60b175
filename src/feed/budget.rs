//! What all feeds may hold together.
//!
//! Each feed has its lag limit, and whoever reads nothing in many rooms costs each of them one. The
//! budget is for the sum. A feed only counts; who holds most, and whether it is to be let go, is for
//! whoever sees all rooms. So that he need not ask them, each room has a part of the budget.

use std::sync::Arc;

use crate::sync::atomic::{AtomicUsize, Ordering};

/// A feed tells the budget when it holds so much more or less than it has told, in bytes. With each
/// append it would cost all rooms a cache line that they fight for; ten times as much would leave that
/// much of every small room uncounted.
const TOLD_BYTES_MIN: usize = 512;

/// What feeds may hold together, and what they do: all of them, or those of one room.
#[derive(Debug)]
pub struct FeedBudget {
    /// Relaxed: it orders nothing, and a look that comes too early is made up for by the next.
    used_bytes: AtomicUsize,
    bytes_max: usize,
    /// What this is a part of.
    whole: Option<Arc<Self>>,
}

impl FeedBudget {
    /// A budget of `bytes_max` bytes: of buffers that frames are in, and of what it takes to find them.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            used_bytes: AtomicUsize::new(0),
            bytes_max,
            whole: None,
        }
    }

    /// A budget that is never used up.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// A part of `whole`, which says what one room uses of it. The limit is that of the whole.
    #[must_use]
    pub fn part_of(whole: Arc<Self>) -> Self {
        Self {
            used_bytes: AtomicUsize::new(0),
            bytes_max: whole.bytes_max,
            whole: Some(whole),
        }
    }

    /// Bytes that its feeds hold now, but for less than 512 in each.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// What it was made with.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether more than half of the whole is used.
    pub fn is_half_used(&self) -> bool {
        self.left_bytes() < self.bytes_max / 2
    }

    /// Whether more than three quarters of the whole are used: it is time to let go of what members
    /// hold back that take nothing, and to wait for the others.
    pub fn is_short(&self) -> bool {
        self.left_bytes() < self.bytes_max / 4
    }

    /// Whether more than seven eighths of the whole are used.
    pub fn is_nearly_used_up(&self) -> bool {
        self.left_bytes() < self.bytes_max / 8
    }

    /// Whether all of the whole is used: whoever can wait appends nothing.
    pub fn is_used_up(&self) -> bool {
        self.left_bytes() == 0
    }

    fn left_bytes(&self) -> usize {
        let whole = self.whole.as_deref().unwrap_or(self);
        self.bytes_max.saturating_sub(whole.used_bytes())
    }

    fn grow(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.grow(bytes);
        }
    }

    fn shrink(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.shrink(bytes);
        }
    }
}

/// What one feed uses, as its budget knows it; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Usage {
    budget: Arc<FeedBudget>,
    told_bytes: usize,
}

impl Usage {
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
        if bytes > told {
            self.budget.grow(bytes - told);
        } else if bytes < told {
            self.budget.shrink(told - bytes);
        }
    }
}

impl Drop for Usage {
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
        bytes: 1024 * KIB,
        messages: 100_000,
    };

    fn append(feed: &Feed, bytes: usize) {
        let frame = vec![b'x'; bytes];
        feed.append().frame(|out| out.put_slice(&frame));
    }

    fn budget_and_feed() -> (Arc<FeedBudget>, Feed) {
        let budget = Arc::new(FeedBudget::new(64 * KIB));
        (budget.clone(), Feed::within(LAG, budget))
    }

    #[test]
    fn it_is_half_used_then_short_then_nearly_used_up() {
        let whole = Arc::new(FeedBudget::new(1_000));
        let part = FeedBudget::part_of(whole.clone());
        for (used, wanted) in [
            (0, [false, false, false, false]),
            (500, [false, false, false, false]),
            (501, [true, false, false, false]),
            (750, [true, false, false, false]),
            (751, [true, true, false, false]),
            (875, [true, true, false, false]),
            (876, [true, true, true, false]),
            (999, [true, true, true, false]),
            (1_000, [true, true, true, true]),
            (5_000, [true, true, true, true]),
        ] {
            whole.used_bytes.store(used, Ordering::Relaxed);
            for budget in [&*whole, &part] {
                let is = [
                    budget.is_half_used(),
                    budget.is_short(),
                    budget.is_nearly_used_up(),
                    budget.is_used_up(),
                ];
                assert_eq!(is, wanted, "{used}");
            }
        }
        let unlimited = FeedBudget::unlimited();
        unlimited.used_bytes.store(1 << 40, Ordering::Relaxed);
        assert!(!unlimited.is_short());
    }

    #[test]
    fn what_a_room_uses_is_counted_for_it_and_for_all() {
        let whole = Arc::new(FeedBudget::new(1 << 30));
        let rooms = [1, 2].map(|_| Arc::new(FeedBudget::part_of(whole.clone())));
        let feeds = [0, 0, 1].map(|room: usize| Feed::within(LAG, rooms[room].clone()));
        for feed in &feeds {
            append(feed, 5_000);
        }
        let [two, one] = [0, 1].map(|room: usize| rooms[room].used_bytes());
        assert!((5_000..6_000).contains(&one), "{one}");
        assert_eq!((two, whole.used_bytes()), (2 * one, 3 * one));
        feeds[0].clear();
        assert_eq!(rooms[0].used_bytes(), one);
        drop(feeds);
        let left = [&rooms[0], &rooms[1], &whole].map(|budget| budget.used_bytes());
        assert_eq!(left, [0, 0, 0]);
    }

    #[test]
    fn what_everybody_has_had_is_given_back() {
        let (budget, feed) = budget_and_feed();
        for _ in 0..100 {
            append(&feed, 100);
        }
        let used = budget.used_bytes();
        assert!((10_000..17_000).contains(&used), "{used}");
        feed.raise_low_water(feed.bounds().end);
        feed.tidy();
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn many_small_frames_are_counted_with_what_it_takes_to_find_them() {
        let (budget, feed) = budget_and_feed();
        for position in 0..1_000 {
            append(&feed, 2);
            // A reader that takes each by itself makes a chunk of each.
            feed.read(position, |_, _| ()).unwrap();
        }
        assert!(budget.used_bytes() > 100_000, "{}", budget.used_bytes());
    }

    #[test]
    fn an_unread_frame_is_counted_with_the_whole_buffer_that_it_keeps() {
        let (budget, feed) = budget_and_feed();
        // Large ones first, so that there is a large buffer.
        for position in 0..3 {
            append(&feed, 10 * KIB);
            feed.read(position, |_, _| ()).unwrap();
        }
        append(&feed, 1_000);
        feed.raise_low_water(3);
        append(&feed, 1_000);
        assert_eq!(feed.held_bytes(), 2_000);
        assert!(budget.used_bytes() > 50 * KIB, "{}", budget.used_bytes());
        // And no longer than until another one is begun.
        let mut position = 4;
        while budget.used_bytes() > 50 * KIB {
            assert!(position < 1_000, "{} bytes", budget.used_bytes());
            feed.read(position, |_, _| ()).unwrap();
            feed.raise_low_water(position);
            append(&feed, 1_000);
            position += 1;
        }
        assert!(feed.buffer_capacity() < 10 * KIB);
    }

    #[test]
    fn the_next_buffer_is_as_large_as_what_is_said_wants_it() {
        for (frame_bytes, used_bytes_max) in [(40, 2 * KIB), (400, 7 * KIB), (4 * KIB, 66 * KIB)] {
            let (budget, feed) = budget_and_feed();
            for position in 0..1_000 {
                append(&feed, frame_bytes);
                feed.read(position, |_, _| ()).unwrap();
                feed.raise_low_water(position);
                let used = budget.used_bytes();
                assert!(used <= used_bytes_max, "{used} for {frame_bytes}");
            }
        }
    }

    #[test]
    fn what_nobody_reads_takes_little_more_than_its_frames() {
        for frame_bytes in [100, 1_030, 8_200, 60_000] {
            let budget = Arc::new(FeedBudget::new(1 << 30));
            let feed = Feed::within(LAG, budget.clone());
            while feed.held_bytes() < 1_000_000 {
                append(&feed, frame_bytes);
            }
            let used = budget.used_bytes();
            assert!(used < 1_200_000, "{used} for {frame_bytes}");
        }
    }

    #[test]
    fn what_is_let_go_is_what_nobody_else_wants() {
        let (budget, feed) = budget_and_feed();
        for position in 0..3 {
            append(&feed, 100);
            feed.read(position, |_, _| ()).unwrap();
        }
        feed.shed(1);
        assert_eq!(feed.read(0, |_, _| ()), Err(Lagged));
        assert_eq!(feed.read(1, |_, _| ()), Ok(3));
        append(&feed, 100);
        // Nobody has read the last.
        feed.shed(4);
        assert_eq!(feed.read(3, |_, _| ()), Err(Lagged));
        assert_eq!(feed.read(4, |_, _| ()), Ok(4));
        assert_eq!((feed.held_bytes(), feed.buffer_capacity()), (0, 0));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn while_little_is_left_no_large_buffer_is_begun() {
        let (budget, feed) = budget_and_feed();
        let other = Feed::within(LAG, budget.clone());
        append(&feed, 8 * KIB);
        feed.read(0, |_, _| ()).unwrap();
        append(&other, 60 * KIB);
        assert!(budget.is_short());
        append(&feed, 100);
        assert!(feed.buffer_capacity() <= 512, "{}", feed.buffer_capacity());
    }
}
