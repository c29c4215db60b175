//! What a feed's lock guards: chunks, and the tail behind them.

use std::{collections::VecDeque, mem, sync::Arc};

use bytes::BytesMut;

use super::{BUFFER_BYTES_MAX, Chunk, FeedBudget, LagLimit, budget::Share};

/// The first buffer of a feed, in bytes: small rooms stay small. Each further one doubles.
const BUFFER_BYTES_MIN: usize = 512;

/// What a chunk takes beside its frames, in bytes, as the budget counts it: itself, its place in the
/// queue, and what an allocator adds.
const CHUNK_BYTES: usize = 128;

/// A feed's frames, and where they are.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) chunks: VecDeque<Arc<Chunk>>,
    pub(super) tail: BytesMut,
    pub(super) tail_ends: Vec<u32>,
    pub(super) oldest: u64,
    pub(super) end: u64,
    /// Bytes of frames in chunks and tail.
    pub(super) held_bytes: usize,
    /// Bytes of all frames that ever were.
    pub(super) appended_bytes: u64,
    buffer_bytes: usize,
    share: Share,
}

impl Log {
    pub(super) fn new(budget: Arc<FeedBudget>) -> Self {
        Self {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            tail_ends: Vec::new(),
            oldest: 0,
            end: 0,
            held_bytes: 0,
            appended_bytes: 0,
            buffer_bytes: 0,
            share: Share::new(budget),
        }
    }

    pub(super) fn budget(&self) -> &FeedBudget {
        self.share.budget()
    }

    pub(super) fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let bytes = self.tail.split().freeze();
        let ends = mem::take(&mut self.tail_ends).into_boxed_slice();
        let first = self.end - ends.len() as u64;
        self.chunks
            .push_back(Arc::new(Chunk { first, bytes, ends }));
        if self.tail.capacity() < BUFFER_BYTES_MIN / 8 {
            // Too little left for another batch: don't pin the old buffer for it.
            self.tail = BytesMut::new();
        }
    }

    pub(super) fn let_go(&mut self, low_water: u64, lag: LagLimit) {
        while let Some(chunk) = self.chunks.front() {
            let bytes_after = self.held_bytes - chunk.bytes.len();
            let frames_after = (self.end - chunk.end()) as usize;
            let had_by_all = chunk.end() <= low_water;
            let out_of_reach = bytes_after >= lag.bytes || frames_after >= lag.messages;
            if !had_by_all && !out_of_reach {
                break;
            }
            self.let_go_of_oldest();
        }
    }

    /// Lets go of what only stalled readers have not had, until no more than `allowance` bytes are taken:
    /// the others have had what is before `reach`.
    pub(super) fn shed(&mut self, reach: u64, allowance: usize) {
        if self.end <= reach && self.taken_bytes() > allowance {
            // Nobody may have read for long: then all of it is in the tail.
            self.seal();
        }
        while self.taken_bytes() > allowance
            && self
                .chunks
                .front()
                .is_some_and(|chunk| chunk.end() <= reach)
        {
            self.let_go_of_oldest();
        }
        if self.held_bytes == 0 {
            self.clear();
        }
    }

    fn let_go_of_oldest(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.oldest = chunk.end();
            self.held_bytes -= chunk.bytes.len();
        }
    }

    /// Bytes of frames, and what it takes to find them.
    fn taken_bytes(&self) -> usize {
        let ends = (self.end - self.oldest) as usize * size_of::<u32>();
        self.held_bytes + self.chunks.len() * CHUNK_BYTES + ends
    }

    /// Lets the budget know.
    pub(super) fn settle(&mut self) {
        self.share.set(self.taken_bytes());
    }

    pub(super) fn bytes_since(&self, position: u64) -> usize {
        let chunks = self
            .chunks
            .iter()
            .rev()
            .take_while(|chunk| chunk.end() > position);
        self.tail.len() + chunks.map(|chunk| chunk.bytes.len()).sum::<usize>()
    }

    pub(super) fn clear(&mut self) {
        self.chunks = VecDeque::new();
        self.tail = BytesMut::new();
        self.tail_ends = Vec::new();
        self.oldest = self.end;
        self.held_bytes = 0;
        self.buffer_bytes = 0;
    }

    /// Makes place for a frame, if there is none.
    pub(super) fn reserve(&mut self) {
        if self.tail.capacity() == 0 {
            self.buffer_bytes = (self.buffer_bytes * 2).clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX);
            self.tail.reserve(self.buffer_bytes);
        }
    }
}
