//! A room's dialects: the feed of each, and appending to all of them at once.

use std::sync::Arc;

use super::{
    Dialect, Encode, Event,
    growth::{Grown, Growth},
    patience::REACH_LEAST,
};
use crate::{
    feed::{Append, Feed},
    metrics::Deliveries,
};

/// One dialect's part of the room.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) feed: Arc<Feed>,
    pub(super) members: u64,
}

/// The feeds of the dialects that somebody here speaks, locked for one batch; always in the order of
/// the lanes.
pub(super) struct Appends<'a> {
    lanes: &'a [Lane],
    deliveries: &'a Deliveries,
    feeds: [Option<Append<'a>>; Dialect::MAX],
}

impl<'a> Appends<'a> {
    pub(super) fn begin(
        lanes: &'a [Lane],
        deliveries: &'a Deliveries,
        newcomer: Option<Dialect>,
    ) -> Self {
        let newcomer = newcomer.map(|dialect| usize::from(dialect.0));
        let feeds = std::array::from_fn(|index| {
            let lane = lanes.get(index)?;
            (lane.members > 0 || newcomer == Some(index)).then(|| lane.feed.append())
        });
        Self {
            lanes,
            deliveries,
            feeds,
        }
    }

    pub(super) fn any(&self, is_so: impl Fn(&Append<'a>) -> bool) -> bool {
        self.feeds.iter().flatten().any(is_so)
    }

    /// Where members are that are more than so many eighths behind, or for whom there is no memory: a sum
    /// over dialects, which moves with each of them. None if nobody is.
    pub(super) fn least_behind(&self, eighths: usize) -> Option<u64> {
        let feeds = self.feeds.iter().flatten();
        let behind = feeds.filter(|it| it.is_behind(eighths) || it.is_out_of_budget());
        behind.map(Append::reach).reduce(|sum, reach| sum + reach)
    }

    /// Encodes `event` once for each dialect.
    pub(super) fn encode(&mut self, encoder: &dyn Encode, event: Event<'_>) {
        for (append, index) in self.feeds.iter_mut().zip(0..) {
            if let Some(append) = append {
                append.frame(|out| encoder.encode(Dialect(index), event, out));
            }
        }
    }

    /// Says what has grown. A feed that has not is looked at all the same while its readers are out
    /// of reach, or nobody would notice when they no longer are.
    pub(super) fn finish(self) -> Growth {
        let mut growth = Growth::default();
        for ((append, lane), grown) in self.feeds.iter().zip(self.lanes).zip(&mut growth.0) {
            let Some(append) = append else { continue };
            let bounds = append.bounds();
            if bounds.end > append.begin() || append.is_behind(REACH_LEAST) {
                *grown = Some(Grown::new(&lane.feed, bounds));
            }
        }
        growth
    }
}

impl Drop for Appends<'_> {
    /// Counts what is due to members, before anybody can read it; what came before a bug, too.
    fn drop(&mut self) {
        for (append, lane) in self.feeds.iter().zip(self.lanes) {
            let frames = append.as_ref().map(|it| it.bounds().end - it.begin());
            self.deliveries.due.add(frames.unwrap_or(0) * lane.members);
        }
    }
}
