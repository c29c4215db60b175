//! An outbox into which each frame is copied: one contiguous write, and a copy for each member.

use std::io::IoSlice;

use bytes::Bytes;

use super::outbox::Queue;
use crate::support::sink::Sink;

impl Queue for Vec<u8> {
    const NAME: &'static str = "copied";

    fn push(&mut self, frame: &Bytes) {
        self.extend_from_slice(frame);
    }

    fn write(&mut self, sink: &mut impl Sink) {
        sink.write(&[IoSlice::new(self)]);
        self.clear();
    }
}
