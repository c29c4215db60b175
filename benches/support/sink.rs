//! What a write costs here, and how many there are.
//!
//! A [`NullSink`] is a real system call to `/dev/null`: it enters the kernel, which looks at no byte
//! and wakes nobody. That is the least that a write can cost, a tenth or less of a small send over
//! TCP. So what delivery itself costs shows, and writes are counted for whoever wants to add the rest.

use std::{
    fs::File,
    io::{IoSlice, Write as _},
    sync::{Arc, LazyLock},
};

static NULL: LazyLock<Arc<File>> = LazyLock::new(|| {
    let null = File::options().write(true).open("/dev/null");
    Arc::new(null.expect("there is a /dev/null"))
});

/// Where a member's bytes go.
pub trait Sink: Send + 'static {
    /// Takes all of `slices` in one write.
    fn write(&mut self, slices: &[IoSlice<'_>]);
}

/// Writes to `/dev/null`, and counts.
#[derive(Debug)]
pub struct NullSink {
    null: Arc<File>,
    pub writes: u64,
    pub bytes: u64,
}

impl Default for NullSink {
    fn default() -> Self {
        Self {
            null: NULL.clone(),
            writes: 0,
            bytes: 0,
        }
    }
}

impl Sink for NullSink {
    fn write(&mut self, slices: &[IoSlice<'_>]) {
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        let written = match slices {
            [one] => (&*self.null).write(one),
            many => (&*self.null).write_vectored(many),
        };
        assert_eq!(written.unwrap(), wanted, "/dev/null takes everything");
        self.writes += 1;
        self.bytes += wanted as u64;
    }
}

/// Keeps everything, for tests.
#[derive(Debug, Default)]
pub struct Recording(pub Vec<u8>);

impl Sink for Recording {
    fn write(&mut self, slices: &[IoSlice<'_>]) {
        slices
            .iter()
            .for_each(|slice| self.0.extend_from_slice(slice));
    }
}
