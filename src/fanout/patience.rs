//! How long a publisher has waited for members that only have no time to run.

use std::time::{Duration, Instant};

use super::Pace;

/// For so long members are waited for, and not longer.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(1);

/// How far members may be behind for a publisher that has not waited, in eighths of the lag limit.
pub(super) const REACH_LEAST: usize = 3;

/// The same for any publisher. With the eighth that a publish takes at the most, all but the last stay
/// below the limit.
///
/// None says that it waits for nobody. That is no large number of eighths: a limit of a few frames has
/// eighths of none.
pub(super) fn reach(pace: Pace) -> Option<usize> {
    let Pace::WithinReach { waited } = pace else {
        return None;
    };
    if waited >= WAIT_MAX {
        return None;
    }
    match waited.as_millis() {
        0 => Some(REACH_LEAST),
        1..10 => Some(REACH_LEAST + 1),
        10..100 => Some(REACH_LEAST + 2),
        _ => Some(REACH_LEAST + 3),
    }
}

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
