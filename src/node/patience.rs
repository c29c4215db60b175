//! How long a publisher has waited for members that only have no time to run.

use std::time::{Duration, Instant};

use crate::fanout::Pace;

/// A publisher's patience. However long a batch takes, it isn't lost while some of it goes out.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// Since when nothing has gone out.
    since: Option<Instant>,
}

impl Patience {
    /// How to publish next.
    pub(crate) fn pace(&self) -> Pace {
        Pace::WithinReach {
            waited: self.since.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }

    /// Notes how many publications were `taken` by the last attempt.
    pub(crate) fn note(&mut self, taken: usize) {
        if taken > 0 {
            self.since = None;
        } else {
            self.since.get_or_insert_with(Instant::now);
        }
    }
}
