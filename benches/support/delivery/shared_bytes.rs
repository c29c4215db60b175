//! An outbox of frames that all members share: a reference for each member, and one slice for each
//! frame in a gathered write.

use std::io::IoSlice;

use bytes::Bytes;

use super::{SLICES_MAX, outbox::Queue};
use crate::support::sink::Sink;

impl Queue for Vec<Bytes> {
    const NAME: &'static str = "shared_bytes";

    fn push(&mut self, frame: &Bytes) {
        self.push(frame.clone());
    }

    fn write(&mut self, sink: &mut impl Sink) {
        write_all(self, sink);
        self.clear();
    }
}

/// Writes `frames` with as few writes as slices allow.
pub fn write_all(frames: &[Bytes], sink: &mut impl Sink) {
    for frames in frames.chunks(SLICES_MAX) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        for (slice, frame) in slices.iter_mut().zip(frames) {
            *slice = IoSlice::new(frame);
        }
        sink.write(&slices[..frames.len()]);
    }
}
