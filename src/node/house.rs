//! What the node does by itself, for as long as somebody has it done.

use std::{
    mem,
    time::{Duration, Instant},
};

use tokio::time::interval;
use tracing::warn;

use super::Node;
use crate::fanout::Fanout;

/// Between looks at what time has made useless in all rooms. Ten times as long would keep what a
/// burst left behind for minutes; a tenth would walk all rooms every second.
pub(super) const TIDY_INTERVAL: Duration = Duration::from_secs(10);

/// Between samples of the counters, for rates.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

impl<F: Fanout> Node<F> {
    /// Keeps rates, and lets go of what time has made useless and of what there is no memory for, for as
    /// long as it is polled.
    pub async fn keep_house(&self) {
        // Beside each other: a look at all rooms takes its time, and memory does not wait for it.
        tokio::join!(
            self.watch_feeds(),
            self.sample_now_and_then(),
            self.tidy_now_and_then()
        );
    }

    async fn sample_now_and_then(&self) {
        let mut sample = interval(SAMPLE_INTERVAL);
        loop {
            sample.tick().await;
            let mut sampler = self.sampler.lock();
            sampler.sample(Instant::now(), &self.counters, &self.deliveries);
        }
    }

    async fn tidy_now_and_then(&self) {
        let mut tidy = interval(TIDY_INTERVAL);
        let mut evicted_before = 0;
        loop {
            tidy.tick().await;
            self.tidy().await;
            self.log_evictions(&mut evicted_before);
        }
    }

    /// Says how many rooms were evicted since `before`. Who fills the limit evicts thousands in a
    /// second, so none has a line of its own.
    fn log_evictions(&self, before: &mut u64) {
        let evicted = self.counters.rooms_evicted.value();
        let rooms = evicted - mem::replace(before, evicted);
        if rooms > 0 {
            let rooms_max = self.config.limits.rooms;
            warn!(
                rooms,
                rooms_max, "rooms that nobody was in have made way, with their histories"
            );
        }
    }

    /// Lets go of old history and of what everybody has had, and of rooms that held nothing else.
    pub async fn tidy(&self) {
        for room in self.rooms.all() {
            room.engine().tidy(Instant::now()).await;
            self.rooms.release_unused(&room);
            // All rooms in one go could keep a worker for long.
            tokio::task::consume_budget().await;
        }
    }
}
