//! What happens per second: the counters' growth from one sample to the next.

use std::time::Instant;

use serde::Serialize;

use crate::metrics::{Counters, Deliveries};

/// What happened per second, over about the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Publications that rooms took.
    pub published: f64,
    /// Frames that members got.
    pub delivered: f64,
    /// Frames that members lost by being slow, or by leaving.
    pub dropped: f64,
}

/// The last sample, and the rates up to it.
#[derive(Debug)]
pub(super) struct Sampler {
    at: Instant,
    counts: [u64; 3],
    rates: Rates,
}

impl Sampler {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            at: now,
            counts: [0; 3],
            rates: Rates::default(),
        }
    }

    pub(super) fn sample(&mut self, now: Instant, counters: &Counters, deliveries: &Deliveries) {
        let counts = [
            counters.published.value(),
            deliveries.delivered.value(),
            deliveries.skipped.value() + deliveries.discarded.value(),
        ];
        let seconds = now.duration_since(self.at).as_secs_f64();
        if seconds == 0.0 {
            return;
        }
        let rate = |index: usize| {
            // Tenths are enough, and shorter to read.
            let growth = counts[index].saturating_sub(self.counts[index]) as f64;
            (growth / seconds * 10.0).round() / 10.0
        };
        self.rates = Rates {
            published: rate(0),
            delivered: rate(1),
            dropped: rate(2),
        };
        self.at = now;
        self.counts = counts;
    }

    pub(super) fn rates(&self) -> Rates {
        self.rates
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_is_the_growth_over_the_time_between_samples() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        let (counters, deliveries) = (Counters::default(), Deliveries::default());
        counters.published.add(10);
        deliveries.delivered.add(30);
        deliveries.skipped.add(1);
        deliveries.discarded.add(2);
        sampler.sample(start + Duration::from_secs(2), &counters, &deliveries);
        let rates = Rates {
            published: 5.0,
            delivered: 15.0,
            dropped: 1.5,
        };
        assert_eq!(sampler.rates(), rates);
        sampler.sample(start + Duration::from_secs(3), &counters, &deliveries);
        assert_eq!(sampler.rates(), Rates::default());
    }
}
