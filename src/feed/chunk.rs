//! Frames that were sealed together.

use bytes::Bytes;

/// Consecutive frames that no longer change.
#[derive(Debug)]
pub struct Chunk {
    pub(super) first: u64,
    pub(super) bytes: Bytes,
    /// Where each frame ends, relative to `bytes`.
    pub(super) ends: Box<[u32]>,
}

impl Chunk {
    /// All its frames, one behind the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The position after its last frame.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// Where the frame at `position` begins.
    ///
    /// # Panics
    /// If the chunk doesn't reach that far.
    #[must_use]
    pub fn offset_of(&self, position: u64) -> usize {
        match (position - self.first) as usize {
            0 => 0,
            index => self.ends[index - 1] as usize,
        }
    }

    /// What is left of the frame at byte `at`, and how many bytes that is.
    pub(crate) fn frame_at(&self, at: usize) -> (Bytes, usize) {
        let end = self.offset_of(self.position_at(at) + 1);
        (self.bytes.slice(at..end), end - at)
    }

    /// The position of the first frame that does not end within the first `bytes`.
    #[must_use]
    pub fn position_at(&self, bytes: usize) -> u64 {
        // Whole chunks are what is mostly written.
        if bytes == 0 {
            return self.first;
        }
        if bytes == self.bytes.len() {
            return self.end();
        }
        self.first + self.ends.partition_point(|&end| end as usize <= bytes) as u64
    }
}
