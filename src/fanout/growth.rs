//! What a walk over the members is for: which feeds grew, and how far everybody is in them.

use std::sync::Arc;

use super::Dialect;
use crate::feed::{Bounds, Feed};

/// Which feeds grew since members were last told, and how far everybody is in them.
#[derive(Debug, Default)]
pub struct Growth(pub(super) [Option<Grown>; Dialect::MAX]);

/// How one feed grew.
#[derive(Debug)]
pub(super) struct Grown {
    pub(super) bounds: Bounds,
    /// The least position of a member, as the walk finds it.
    pub(super) low_water: u64,
    /// The same of those that are not stalled.
    pub(super) reach: u64,
    feed: Arc<Feed>,
}

impl Grown {
    /// As it is before the walk.
    pub(super) fn new(feed: &Arc<Feed>, bounds: Bounds) -> Self {
        Self {
            bounds,
            low_water: bounds.end,
            reach: bounds.end,
            feed: feed.clone(),
        }
    }
}

impl Growth {
    pub(super) fn of(&mut self, dialect: Dialect) -> Option<&mut Grown> {
        self.0[usize::from(dialect.0)].as_mut()
    }

    /// Whether nobody has anything new to hear.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Adds what came after it, so that one walk does for both.
    pub fn merge(&mut self, later: Self) {
        for (grown, later) in self.0.iter_mut().zip(later.0) {
            if later.is_some() {
                *grown = later;
            }
        }
    }

    /// Lets the feeds know what everybody has had, after a walk over all. A member that came since the
    /// append stands behind it, so the walk can't have missed a lower position.
    pub fn settle(self) {
        for grown in self.0.into_iter().flatten() {
            grown.feed.raise_low_water(grown.low_water);
            grown.feed.set_reach(grown.reach);
        }
    }
}
