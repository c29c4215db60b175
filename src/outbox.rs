//! What one session still has to write: its own replies, and the feeds in which it is behind.
//!
//! Owned by the session's task alone; what others do to it goes through its [`Notifier`]. Knows no
//! sockets: the session writes [`slices`](Outbox::slices) and reports how far it got.
//!
//! Only whole frames are started, in this order: what is in hand, then replies, then rooms in the
//! order in which they rang. Frames count as delivered when their last byte was taken.

use std::{collections::VecDeque, io::IoSlice, mem, sync::Arc, time::Instant};

use bytes::Bytes;
use slab::Slab;

use crate::{
    feed::{Chunk, Feed},
    metrics::Deliveries,
    notifier::{Notifier, Seat, SeatKey},
};

/// Pieces that one write takes at the most. Far below what a kernel allows (1024); more than this
/// wait only for a reader that is many batches behind.
pub const SLICES_MAX: usize = 64;

/// A reply buffer that grew beyond this is not kept, in bytes.
const REPLY_BUFFER_BYTES_MAX: usize = 4096;

/// The rest of a frame that is shorter is copied when its room goes on without this session, in bytes, so
/// that no buffer is kept for it, which may be eight times as large. Of longer ones, as many sessions may
/// be in the middle as there are: they share it.
const COPIED_BYTES_MAX: usize = 8 * 1024;

/// What one session still has to write.
#[derive(Debug)]
pub struct Outbox {
    notifier: Arc<Notifier>,
    deliveries: Arc<Deliveries>,
    replies: Vec<u8>,
    in_hand: VecDeque<Piece>,
    cursors: Slab<Cursor>,
    ready: VecDeque<SeatKey>,
    is_stalled: bool,
}

/// The session's place in one room's feed.
#[derive(Debug)]
struct Cursor {
    feed: Arc<Feed>,
    seat: Arc<Seat>,
    /// The first frame that was not taken in hand yet.
    next: u64,
}

/// A part of a write, consumed from `at` on.
#[derive(Debug)]
enum Piece {
    /// Whole frames of the session's own.
    Replies { bytes: Vec<u8>, at: usize },
    /// Frames of a room that the session is in.
    Shared {
        key: SeatKey,
        chunk: Arc<Chunk>,
        at: usize,
    },
    /// The end of a frame whose room the session has left or skipped in.
    Rest {
        bytes: Bytes,
        at: usize,
        claim: Claim,
    },
}

/// One begun frame that no room accounts for any more.
#[derive(Debug)]
struct Claim {
    deliveries: Arc<Deliveries>,
    is_delivered: bool,
}

impl Claim {
    fn new(deliveries: Arc<Deliveries>) -> Self {
        deliveries.in_transit.add(1);
        Self {
            deliveries,
            is_delivered: false,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let to = if self.is_delivered {
            &self.deliveries.delivered
        } else {
            &self.deliveries.discarded
        };
        to.add(1);
        self.deliveries.in_transit.sub(1);
    }
}

/// Where a session that has lagged goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipTo {
    /// At the oldest frame that the room still keeps.
    Oldest,
    /// At the newest frame.
    Newest,
}

/// The session's place in this room's feed is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Which room.
    pub key: SeatKey,
}

impl Outbox {
    /// An empty one, whose rooms ring `notifier` and whose frames are counted in `deliveries`.
    #[must_use]
    pub fn new(notifier: Arc<Notifier>, deliveries: Arc<Deliveries>) -> Self {
        Self {
            notifier,
            deliveries,
            replies: Vec::new(),
            in_hand: VecDeque::new(),
            // Most sessions are in one room for all their life; a slab would begin with four.
            cursors: Slab::with_capacity(1),
            ready: VecDeque::new(),
            is_stalled: false,
        }
    }

    /// A seat for a room to be joined; [`attach`](Self::attach) follows before the next one.
    pub fn vacant_seat(&mut self) -> Arc<Seat> {
        self.notifier.reserve(self.cursors.len() + 1);
        let key = SeatKey::try_from(self.cursors.vacant_key())
            .expect("a session is in far fewer than 2^32 rooms");
        let seat = Seat::new(key, self.notifier.clone());
        seat.set_stalled(self.is_stalled);
        Arc::new(seat)
    }

    /// Reads `feed` for `seat`, which a room has admitted, from the seat's position on.
    pub fn attach(&mut self, seat: Arc<Seat>, feed: Arc<Feed>) -> SeatKey {
        let next = seat.position();
        let key = self.cursors.insert(Cursor { feed, seat, next });
        // `vacant_seat` named the slot that the slab has just filled.
        debug_assert_eq!(key, self.cursors[key].seat_key());
        key as SeatKey
    }

    /// Stops reading for `key`. The rest of a frame already begun will still be written.
    pub fn detach(&mut self, key: SeatKey) {
        self.cut(|other| other == key);
        self.cursors.try_remove(key as usize);
        self.notifier.forget(key);
        self.ready.retain(|&other| other != key);
    }

    /// Notes whether what is in hand can be written at present. While it can't, publishers don't wait
    /// for this session to catch up, and it lags instead: the sooner, the longer it has taken nothing,
    /// where there is little memory left.
    pub fn set_stalled(&mut self, is_stalled: bool) {
        if self.is_stalled != is_stalled {
            self.is_stalled = is_stalled;
            if is_stalled {
                self.notifier.note_stalled(Instant::now());
            }
            for (_, cursor) in &self.cursors {
                cursor.seat.set_stalled(is_stalled);
            }
        }
    }

    /// Where replies and control frames go: whole frames only.
    pub fn replies(&mut self) -> &mut Vec<u8> {
        &mut self.replies
    }

    /// Bytes of replies that the peer has not taken yet, in hand or behind it.
    #[must_use]
    pub fn reply_bytes(&self) -> usize {
        let in_hand = self.in_hand.iter().map(|piece| match piece {
            Piece::Replies { .. } => piece.rest().len(),
            Piece::Shared { .. } | Piece::Rest { .. } => 0,
        });
        // They are gathered first, so at most the rest of a frame stands before them.
        self.replies.len() + in_hand.take(2).sum::<usize>()
    }

    /// Where keys of rooms that rang go.
    pub fn ready(&mut self) -> &mut VecDeque<SeatKey> {
        &mut self.ready
    }

    /// Looks into every room with the next gathering, whether it rang or not.
    pub fn look_everywhere(&mut self) {
        self.ready = self.cursors.iter().map(|(key, _)| key as SeatKey).collect();
    }

    /// Whether something is in hand that is not written yet.
    #[must_use]
    pub fn has_in_hand(&self) -> bool {
        !self.in_hand.is_empty()
    }

    /// Takes in hand what waits, unless something is in hand still.
    ///
    /// # Errors
    /// [`Lag`] for a room in which this session's place is gone. What waits in other rooms is left
    /// for the next call.
    pub fn gather(&mut self) -> Result<(), Lag> {
        if !self.in_hand.is_empty() {
            return self.look_for_lag();
        }
        if !self.replies.is_empty() {
            self.in_hand.push_back(Piece::Replies {
                bytes: mem::take(&mut self.replies),
                at: 0,
            });
        }
        while self.in_hand.len() < SLICES_MAX
            && let Some(key) = self.ready.pop_front()
        {
            let Some(cursor) = self.cursors.get_mut(key as usize) else {
                continue;
            };
            cursor.seat.clear();
            let taken = cursor.feed.read(cursor.next, |chunk, at| {
                self.in_hand.push_back(Piece::Shared {
                    key,
                    chunk: chunk.clone(),
                    at,
                });
            });
            cursor.next = taken.map_err(|_| Lag { key })?;
        }
        Ok(())
    }

    /// While something is in hand, rooms ring for lag only: has the part that is still to be written
    /// fallen out of the feed?
    fn look_for_lag(&self) -> Result<(), Lag> {
        let has_lagged = |key: SeatKey| {
            let cursor = self.cursors.get(key as usize)?;
            // First the flag and then the look: a walker that finds the lag after it rings again.
            cursor.seat.clear_lag();
            (cursor.seat.position() < cursor.feed.bounds().oldest).then_some(Lag { key })
        };
        self.ready
            .iter()
            .find_map(|&key| has_lagged(key))
            .map_or(Ok(()), Err)
    }

    /// Moves on in the room `key`, and returns how many frames that left out.
    pub fn skip(&mut self, key: SeatKey, to: SkipTo) -> u64 {
        self.cut(|other| other == key);
        let Some(cursor) = self.cursors.get_mut(key as usize) else {
            return 0;
        };
        cursor.seat.clear_lag();
        let bounds = cursor.feed.bounds();
        let from = cursor.seat.position();
        let target = match to {
            SkipTo::Oldest => bounds.oldest,
            // Where nothing is left, not even that.
            SkipTo::Newest => bounds.oldest.max(bounds.end.saturating_sub(1)),
        };
        cursor.next = target.max(from);
        cursor.seat.settle(cursor.next);
        self.deliveries.skipped.add(cursor.next - from);
        self.ready.push_back(key);
        cursor.next - from
    }

    /// Lets go of everything from rooms that is not begun, for a session that is about to end.
    pub fn cut_all(&mut self) {
        self.cut(|_| true);
        self.ready.clear();
    }

    /// What to write next, if that is one piece.
    #[must_use]
    pub fn only_slice(&self) -> Option<&[u8]> {
        match self.in_hand.len() {
            1 => self.in_hand.front().map(Piece::rest),
            _ => None,
        }
    }

    /// What to write next: fills `slices` and returns how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.in_hand) {
            *slice = IoSlice::new(piece.rest());
            count += 1;
        }
        count
    }

    /// The first `bytes` of what [`slices`](Self::slices) gave were taken.
    pub fn advance(&mut self, mut bytes: usize) {
        let mut delivered = 0;
        while bytes > 0 {
            let Some(piece) = self.in_hand.front_mut() else {
                break;
            };
            let step = bytes.min(piece.rest().len());
            bytes -= step;
            if let Piece::Shared { key, chunk, at } = piece {
                let before = chunk.position_at(*at);
                let after = chunk.position_at(*at + step);
                delivered += after - before;
                if let Some(cursor) = self.cursors.get(*key as usize) {
                    cursor.seat.settle(after);
                }
            }
            if piece.consume(step) {
                let done = self.in_hand.pop_front();
                self.recycle(done);
            }
        }
        if delivered > 0 {
            self.deliveries.delivered.add(delivered);
        }
    }

    /// Takes one whole frame out of hand, as a part of what all readers share: it counts as delivered.
    /// Nothing where something else is to be written first.
    pub fn take_frame(&mut self) -> Option<Bytes> {
        let Some(Piece::Shared { chunk, at, .. }) = self.in_hand.front() else {
            return None;
        };
        let (frame, bytes) = chunk.frame_at(*at);
        self.advance(bytes);
        Some(frame)
    }

    fn recycle(&mut self, done: Option<Piece>) {
        match done {
            Some(Piece::Rest { mut claim, .. }) => claim.is_delivered = true,
            Some(Piece::Replies { mut bytes, .. })
                if self.replies.is_empty() && bytes.capacity() <= REPLY_BUFFER_BYTES_MAX =>
            {
                bytes.clear();
                self.replies = bytes;
            }
            _ => {}
        }
    }

    /// Lets go of what is in hand for the rooms that `is_cut` names, but for the rest of a frame
    /// already begun.
    fn cut(&mut self, is_cut: impl Fn(SeatKey) -> bool) {
        let rest = self
            .in_hand
            .front()
            .and_then(|piece| self.rest_of_begun(piece, &is_cut));
        self.in_hand
            .retain(|piece| !matches!(piece, Piece::Shared { key, .. } if is_cut(*key)));
        if let Some(rest) = rest {
            self.in_hand.push_front(rest);
        }
    }

    fn rest_of_begun(&self, piece: &Piece, is_cut: impl Fn(SeatKey) -> bool) -> Option<Piece> {
        let &Piece::Shared { key, ref chunk, at } = piece else {
            return None;
        };
        if !is_cut(key) {
            return None;
        }
        let position = chunk.position_at(at);
        if chunk.offset_of(position) == at {
            return None;
        }
        if let Some(cursor) = self.cursors.get(key as usize) {
            cursor.seat.settle(position + 1);
        }
        let (mut bytes, length) = chunk.frame_at(at);
        if length < COPIED_BYTES_MAX {
            bytes = Bytes::copy_from_slice(&bytes);
        }
        Some(Piece::Rest {
            bytes,
            at: 0,
            claim: Claim::new(self.deliveries.clone()),
        })
    }
}

impl Cursor {
    fn seat_key(&self) -> usize {
        self.seat.key() as usize
    }
}

impl Piece {
    fn rest(&self) -> &[u8] {
        match self {
            Self::Replies { bytes, at } => &bytes[*at..],
            Self::Rest { bytes, at, .. } => &bytes[*at..],
            Self::Shared { chunk, at, .. } => &chunk.bytes()[*at..],
        }
    }

    /// Consumes `bytes`, and tells whether nothing is left.
    fn consume(&mut self, bytes: usize) -> bool {
        match self {
            Self::Replies { at, .. } | Self::Rest { at, .. } | Self::Shared { at, .. } => {
                *at += bytes
            }
        }
        self.rest().is_empty()
    }
}
