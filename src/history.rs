//! A room's recent publications, numbered, for those who come later or come back.
//!
//! Publications are numbered 1, 2, 3, … within an epoch, which changes when the numbering starts
//! over. Recovery gives everything that was missed or says honestly that it can't; never a part.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use crate::publication::Publication;

/// The largest block that payloads share, in bytes. The last of them that is kept pins all of it.
const BLOCK_BYTES_MAX: usize = 4096;

/// One life of a room's numbering: eight characters that no other life has had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Epoch([u8; 8]);

impl Epoch {
    /// A new one, at random.
    #[must_use]
    pub fn random() -> Self {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the system has random numbers");
        Self(bytes.map(|byte| LETTERS[usize::from(byte % 32)]))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("made of ASCII letters")
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a room's history: everything up to `offset` is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The life of the numbering.
    pub epoch: Epoch,
    /// The number of the last publication before it; 0 before the first.
    pub offset: u64,
}

/// A publication that history keeps.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its number.
    pub offset: u64,
    /// What was published.
    pub publication: Publication,
    expires: Instant,
}

/// How much a history keeps.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimit {
    /// Publications.
    pub size: usize,
    /// Bytes of payloads and tags.
    pub bytes: usize,
    /// How long.
    pub ttl: Duration,
}

/// What all histories may hold together.
#[derive(Debug)]
pub struct HistoryBudget {
    used_bytes: AtomicUsize,
    bytes_max: usize,
}

impl HistoryBudget {
    /// A budget of `bytes_max` bytes of payloads and tags.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            used_bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// Bytes of payloads and tags that all histories hold now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self
            .used_bytes
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes)
                    .filter(|&used| used <= self.bytes_max)
            });
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A room's recent publications.
#[derive(Debug)]
pub struct History {
    limit: HistoryLimit,
    budget: Arc<HistoryBudget>,
    epoch: Epoch,
    offset: u64,
    bytes: usize,
    kept: VecDeque<Kept>,
    /// Where the next payloads go, one behind the other: a piece of memory for each would be asked for
    /// with every publication and given back with the one that makes way for it.
    block: BytesMut,
}

impl History {
    /// An empty history in an epoch of its own.
    #[must_use]
    pub fn new(limit: HistoryLimit, budget: Arc<HistoryBudget>) -> Self {
        Self {
            limit,
            budget,
            epoch: Epoch::random(),
            offset: 0,
            bytes: 0,
            kept: VecDeque::new(),
            block: BytesMut::new(),
        }
    }

    /// Numbers `publication`, keeps it as long as the limits allow, and returns its place.
    ///
    /// Room is made at the old end of this history only. When the budget of all histories is used up
    /// and this one has nothing left to give, the publication is numbered and not kept: those who
    /// miss it are told that they can't recover.
    pub fn append(&mut self, publication: &Publication, now: Instant) -> Position {
        self.offset += 1;
        self.expire(now);
        let bytes = publication.bytes();
        while self.kept.len() >= self.limit.size || self.bytes + bytes > self.limit.bytes {
            if !self.forget_oldest() {
                break;
            }
        }
        if self.limit.size == 0 || bytes > self.limit.bytes || !self.make_way_in_budget(bytes) {
            return self.position();
        }
        let publication = Publication {
            payload: self.copy(&publication.payload),
            ..publication.clone()
        };
        self.bytes += bytes;
        self.kept.push_back(Kept {
            offset: self.offset,
            publication,
            expires: now + self.limit.ttl,
        });
        self.position()
    }

    /// Where the next newcomer stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.offset,
        }
    }

    /// Whether it keeps nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// When it will keep nothing any more, if it keeps anything.
    #[must_use]
    pub fn kept_until(&self) -> Option<Instant> {
        self.kept.back().map(|kept| kept.expires)
    }

    /// Lets go of what is too old.
    pub fn expire(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|kept| kept.expires <= now) {
            self.forget_oldest();
        }
    }

    /// Takes everything that is kept. The numbering goes on.
    pub fn clear(&mut self) -> VecDeque<Kept> {
        self.budget.give_back(std::mem::take(&mut self.bytes));
        self.block = BytesMut::new();
        std::mem::take(&mut self.kept)
    }

    /// What is kept after `offset`, oldest first, as far as it reaches.
    pub fn since(&self, offset: u64) -> impl DoubleEndedIterator<Item = &Kept> + ExactSizeIterator {
        let first = self.kept.partition_point(|kept| kept.offset <= offset);
        self.kept.range(first..)
    }

    /// Everything after `offset` of `epoch`, if it is all still here and no more than `max`.
    ///
    /// An empty epoch is one that the client never learnt, and matches.
    #[must_use]
    pub fn recover(&self, epoch: &str, offset: u64, max: usize) -> Option<Vec<Kept>> {
        let is_this_life = epoch.is_empty() || epoch == self.epoch.as_str();
        // An offset from the future is one of another numbering, whatever its epoch says.
        let missed = self.offset.checked_sub(offset)?;
        let kept = self.since(offset);
        (is_this_life && kept.len() as u64 == missed && kept.len() <= max)
            .then(|| kept.cloned().collect())
    }

    /// `payload` in memory of the history's own: off a socket it is a slice of a whole read buffer, and
    /// would pin that for as long as it is kept.
    fn copy(&mut self, payload: &[u8]) -> Bytes {
        if self.block.capacity() < payload.len() {
            // No more than is kept already, so that a room of few words has no block for many.
            let capacity = self.bytes.min(BLOCK_BYTES_MAX).max(payload.len());
            self.block = BytesMut::with_capacity(capacity);
        }
        self.block.extend_from_slice(payload);
        self.block.split().freeze()
    }

    fn make_way_in_budget(&mut self, bytes: usize) -> bool {
        while !self.budget.take(bytes) {
            if !self.forget_oldest() {
                return false;
            }
        }
        true
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(kept) = self.kept.pop_front() else {
            return false;
        };
        let bytes = kept.publication.bytes();
        self.bytes -= bytes;
        self.budget.give_back(bytes);
        if self.kept.is_empty() {
            self.block = BytesMut::new();
        }
        true
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::{PayloadKind, Tags};

    const WIDE: HistoryLimit = HistoryLimit {
        size: 3,
        bytes: 1000,
        ttl: Duration::from_secs(60),
    };

    fn history(limit: HistoryLimit) -> History {
        History::new(limit, Arc::new(HistoryBudget::new(1_000_000)))
    }

    fn publication(text: &'static str) -> Publication {
        Publication::new(PayloadKind::Text, Bytes::from_static(text.as_bytes()))
    }

    fn append(history: &mut History, texts: &[&'static str]) {
        for text in texts {
            history.append(&publication(text), Instant::now());
        }
    }

    fn offsets(kept: &[Kept]) -> Vec<u64> {
        kept.iter().map(|kept| kept.offset).collect()
    }

    #[test]
    fn payloads_share_memory_of_the_historys_own_and_stay_what_they_were() {
        let mut history = history(HistoryLimit {
            size: 50,
            bytes: 100_000,
            ..WIDE
        });
        let texts: Vec<_> = (0..200)
            .map(|n| "x".repeat(n % 70) + &n.to_string())
            .collect();
        for text in &texts {
            let read = Bytes::from(format!("before{text}behind"));
            let payload = read.slice(6..6 + text.len());
            let publication = Publication::new(PayloadKind::Text, payload);
            history.append(&publication, Instant::now());
            let kept = &history.kept.back().unwrap().publication.payload;
            assert!(
                !read.as_ptr_range().contains(&kept.as_ptr()),
                "not a slice of what was read"
            );
        }
        let kept: Vec<_> = history
            .since(0)
            .map(|kept| &kept.publication.payload[..])
            .collect();
        let wanted: Vec<_> = texts[150..].iter().map(|text| text.as_bytes()).collect();
        assert_eq!(kept, wanted);
        let ends: Vec<_> = kept
            .iter()
            .map(|payload| payload.as_ptr_range().end)
            .collect();
        let shared = kept[1..]
            .iter()
            .zip(&ends)
            .filter(|(next, end)| next.as_ptr() == **end);
        assert!(shared.count() > 25, "one behind the other");
    }

    #[test]
    fn everything_missed_is_recovered_or_nothing() {
        let mut history = history(WIDE);
        append(&mut history, &["a", "b", "c", "d"]);
        let epoch = history.position().epoch;
        let recover = |epoch: &str, offset, max| {
            history
                .recover(epoch, offset, max)
                .map(|kept| offsets(&kept))
        };
        assert_eq!(recover(epoch.as_str(), 2, 10), Some(vec![3, 4]));
        assert_eq!(recover(epoch.as_str(), 1, 10), Some(vec![2, 3, 4]));
        assert_eq!(recover(epoch.as_str(), 4, 10), Some(vec![]));
        assert_eq!(
            recover("", 2, 10),
            Some(vec![3, 4]),
            "an epoch never learnt"
        );
        assert_eq!(recover(epoch.as_str(), 0, 10), None, "the first is gone");
        assert_eq!(recover("another", 2, 10), None);
        assert_eq!(recover(epoch.as_str(), 5, 10), None, "from the future");
        assert_eq!(
            recover(epoch.as_str(), 1, 2),
            None,
            "more than may be recovered at once"
        );
    }

    #[test]
    fn size_bytes_and_age_each_bound_it() {
        let mut by_size = history(WIDE);
        append(&mut by_size, &["a", "b", "c", "d"]);
        assert_eq!(by_size.since(0).len(), 3);

        let mut by_bytes = history(HistoryLimit { bytes: 5, ..WIDE });
        append(&mut by_bytes, &["aa", "bb", "cc"]);
        assert_eq!(
            by_bytes
                .since(0)
                .map(|kept| kept.offset)
                .collect::<Vec<_>>(),
            [2, 3]
        );
        append(&mut by_bytes, &["too long to keep"]);
        assert!(by_bytes.is_empty());
        assert_eq!(
            by_bytes.position().offset,
            4,
            "it was numbered all the same"
        );

        let mut with_tags = history(HistoryLimit { bytes: 5, ..WIDE });
        let encoded = b"{\"a\"}".as_slice().into();
        let tagged = Publication {
            tags: Some(Arc::new(Tags { encoded })),
            ..publication("x")
        };
        with_tags.append(&tagged, Instant::now());
        assert!(with_tags.is_empty(), "tags count");

        let mut by_age = history(WIDE);
        let start = Instant::now();
        by_age.append(&publication("a"), start);
        by_age.append(&publication("b"), start + Duration::from_secs(30));
        by_age.expire(start + Duration::from_secs(60));
        assert_eq!(
            by_age.since(0).map(|kept| kept.offset).collect::<Vec<_>>(),
            [2]
        );
    }

    #[test]
    fn all_histories_together_stay_within_their_budget() {
        let budget = Arc::new(HistoryBudget::new(6));
        let mut first = History::new(WIDE, budget.clone());
        let mut second = History::new(WIDE, budget.clone());
        append(&mut first, &["aaaa"]);
        append(&mut second, &["bb", "cc"]);
        assert_eq!(budget.used_bytes(), 6);
        assert_eq!(
            second.since(0).map(|kept| kept.offset).collect::<Vec<_>>(),
            [2]
        );
        append(&mut second, &["ddd"]);
        assert!(second.is_empty(), "nothing of its own was left to give");
        assert_eq!(second.recover("", 0, 10).map(|kept| kept.len()), None);
        drop(first);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn what_was_cleared_is_gone_and_the_numbering_goes_on() {
        let budget = Arc::new(HistoryBudget::new(100));
        let mut history = History::new(WIDE, budget.clone());
        append(&mut history, &["a", "b"]);
        let epoch = history.position().epoch;
        assert_eq!(history.clear().len(), 2);
        assert!(history.is_empty());
        assert_eq!(budget.used_bytes(), 0);
        assert_eq!(history.recover("", 1, 10).map(|kept| kept.len()), None);
        append(&mut history, &["c"]);
        assert_eq!(history.position(), Position { epoch, offset: 3 });
        assert_eq!(history.recover("", 2, 10).map(|kept| kept.len()), Some(1));
    }

    #[test]
    fn what_is_kept_does_not_pin_the_buffer_it_came_in() {
        let buffer = Bytes::from(vec![b'x'; 100]);
        let mut history = history(WIDE);
        let publication = Publication::new(PayloadKind::Binary, buffer.slice(10..20));
        history.append(&publication, Instant::now());
        let kept = &history.since(0).next().unwrap().publication.payload;
        assert!(!buffer.as_ptr_range().contains(&kept.as_ptr()));
        assert_eq!(kept.len(), 10);
    }
}
