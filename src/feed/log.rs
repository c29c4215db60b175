//! What a feed's lock guards: chunks, and the tail behind them.

use std::{collections::VecDeque, mem, sync::Arc};

use bytes::BytesMut;

use super::{BUFFER_BYTES_MAX, Chunk, FeedBudget, LagLimit, budget::Usage};

/// The smallest buffer of a feed, in bytes: small rooms stay small.
const BUFFER_BYTES_MIN: usize = 512;

/// So many batches like the last one go into a buffer. Whatever of it is unread keeps all of it, so more
/// would cost quiet rooms memory; fewer, busy ones an allocation each few batches.
const BATCHES_PER_BUFFER: usize = 8;

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
    /// Those that chunks and tail are in, oldest first.
    buffers: VecDeque<Buffer>,
    /// Bytes of all of them.
    buffers_bytes: usize,
    /// What the tail had when it was last looked at: if it has another now, it is in another buffer.
    tail_capacity: usize,
    last_batch_bytes: usize,
    usage: Usage,
}

/// Memory that chunks share; it stays until the last of them is let go.
#[derive(Debug)]
struct Buffer {
    /// The position of the first frame in it.
    first: u64,
    bytes: usize,
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
            buffers: VecDeque::new(),
            buffers_bytes: 0,
            tail_capacity: 0,
            last_batch_bytes: 0,
            usage: Usage::new(budget),
        }
    }

    pub(super) fn budget(&self) -> &FeedBudget {
        self.usage.budget()
    }

    /// Appends the frame that `encode` writes, if it writes any.
    pub(super) fn append(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        if self.is_about_to_move() {
            self.seal();
        }
        self.reserve();
        let draft = Draft {
            begin: self.tail.len(),
            tail: &mut self.tail,
        };
        encode(draft.tail);
        let bytes = draft.accept();
        self.note_buffer();
        if bytes == 0 {
            return;
        }
        let end = u32::try_from(self.tail.len()).expect("a tail is sealed long before 4 GiB");
        self.tail_ends.push(end);
        self.end += 1;
        self.held_bytes += bytes;
        self.appended_bytes += bytes as u64;
    }

    pub(super) fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let bytes = self.tail.split().freeze();
        let ends = mem::take(&mut self.tail_ends).into_boxed_slice();
        let first = self.end - ends.len() as u64;
        self.last_batch_bytes = bytes.len();
        self.chunks
            .push_back(Arc::new(Chunk { first, bytes, ends }));
        if self.tail.capacity() < BUFFER_BYTES_MIN / 8 {
            // Too little left for another batch: don't pin the old buffer for it.
            self.tail = BytesMut::new();
        }
        self.tail_capacity = self.tail.capacity();
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

    /// Lets go of what is before `position`.
    pub(super) fn shed(&mut self, position: u64) {
        if self.end <= position {
            // Nobody may have read for long: then all of it is in the tail.
            self.seal();
        }
        while let Some(chunk) = self.chunks.front()
            && chunk.end() <= position
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
        self.forget_empty_buffers();
        if self.oldest == self.end && self.tail_capacity == 0 {
            self.forget_oldest_buffer();
        }
    }

    fn forget_empty_buffers(&mut self) {
        while let Some(next) = self.buffers.get(1)
            && next.first <= self.oldest
        {
            self.forget_oldest_buffer();
        }
    }

    fn forget_oldest_buffer(&mut self) {
        let buffer = self.buffers.pop_front();
        self.buffers_bytes -= buffer.map_or(0, |it| it.bytes);
    }

    /// Bytes of the buffers that frames are in, and what it takes to find them.
    fn taken_bytes(&self) -> usize {
        let ends = (self.end - self.oldest) as usize * size_of::<u32>();
        self.buffers_bytes + self.chunks.len() * CHUNK_BYTES + ends
    }

    /// Lets the budget know.
    pub(super) fn settle(&mut self) {
        self.usage.set(self.taken_bytes());
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
        self.buffers = VecDeque::new();
        self.buffers_bytes = 0;
        self.tail_capacity = 0;
        self.last_batch_bytes = 0;
    }

    /// Whether there is no place for another frame like the last, and much would be copied to make some:
    /// half of what that takes would then be empty.
    fn is_about_to_move(&self) -> bool {
        let last_frame_bytes = match *self.tail_ends {
            [.., before, last] => last - before,
            [last] => last,
            [] => 0,
        };
        let left = self.tail.capacity() - self.tail.len();
        self.tail.len() >= BUFFER_BYTES_MAX / 2 && left < last_frame_bytes as usize
    }

    /// Makes place for a frame, if there is none.
    fn reserve(&mut self) {
        if self.tail.capacity() == 0 {
            let wanted = if self.budget().is_short() {
                0
            } else {
                BATCHES_PER_BUFFER * self.last_batch_bytes
            };
            self.tail
                .reserve(wanted.clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX));
        }
    }

    /// Notes in which buffer the tail is: a frame that it had no place for has moved it.
    fn note_buffer(&mut self) {
        let bytes = self.tail.capacity();
        if bytes == mem::replace(&mut self.tail_capacity, bytes) {
            return;
        }
        let first = self.end - self.tail_ends.len() as u64;
        if let Some(former) = self.buffers.pop_back_if(|it| it.first == first) {
            // Nothing but the tail was in it.
            self.buffers_bytes -= former.bytes;
        }
        self.buffers.push_back(Buffer { first, bytes });
        self.buffers_bytes += bytes;
        // Where nothing else is left in the former one, it may be that one still, taken back.
        self.forget_empty_buffers();
    }
}

/// A frame that is being encoded. Where that breaks off, nothing of it stays: whole frames only.
struct Draft<'a> {
    tail: &'a mut BytesMut,
    begin: usize,
}

impl Draft<'_> {
    /// Keeps the frame, and returns how long it is.
    fn accept(mut self) -> usize {
        let bytes = self.tail.len() - self.begin;
        self.begin = self.tail.len();
        bytes
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        self.tail.truncate(self.begin);
    }
}
