//! How long a publisher has waited for members that only have no time to run.

use std::time::{Duration, Instant};

use super::Pace;

/// A publisher's patience: the [`Pace`] of its next attempt. However long a batch takes, it isn't lost
/// while some of it goes out.
#[derive(Debug, Default)]
pub struct Patience {
    /// Since when nothing has gone out.
    since: Option<Instant>,
}

impl Patience {
    /// How to publish next.
    #[must_use]
    pub fn pace(&self) -> Pace {
        Pace::WithinReach {
            waited: self.since.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }

    /// Notes how many publications were `taken` by the last attempt.
    pub fn note(&mut self, taken: usize) {
        if taken > 0 {
            self.since = None;
        } else {
            self.since.get_or_insert_with(Instant::now);
        }
    }
}
