//! Medians, ranges, and what a ratio between two engines says.

use serde::Serialize;

/// A figure over all rounds of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) count: usize,
}

impl Spread {
    /// None of no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        values.sort_unstable_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self {
            median,
            low,
            high,
            count: values.len(),
        })
    }

    /// Which engine is ahead, if this is the ratio of the hub's figure to the lock's in each round.
    pub(crate) fn verdict(self, is_more_better: bool) -> Verdict {
        if self.count < 2 {
            Verdict::OneRound
        } else if self.low <= 1.0 && self.high >= 1.0 {
            Verdict::WithinNoise
        } else if (self.median > 1.0) == is_more_better {
            Verdict::HubAhead
        } else {
            Verdict::LockAhead
        }
    }
}

/// What a ratio between the engines says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    LockAhead,
    HubAhead,
    /// Some rounds say the one, some the other.
    WithinNoise,
    /// There is no spread to compare with.
    OneRound,
    /// The load generator was at its limit, so the figure is its own and not the server's.
    LoadLimit,
}

impl Verdict {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::LockAhead => "lock ahead",
            Self::HubAhead => "hub ahead",
            Self::WithinNoise => "within noise",
            Self::OneRound => "one round, no spread",
            Self::LoadLimit => "load generator’s limit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_and_range() {
        let odd = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(
            (odd.median, odd.low, odd.high, odd.count),
            (2.0, 1.0, 3.0, 3)
        );
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([f64::NAN, 1.0]).unwrap().count, 1);
    }

    #[test]
    fn who_is_ahead_depends_on_what_better_is() {
        let above = Spread::of([1.1, 1.2, 1.3]).unwrap();
        assert_eq!(above.verdict(true), Verdict::HubAhead);
        assert_eq!(above.verdict(false), Verdict::LockAhead);
        let below = Spread::of([0.7, 0.9]).unwrap();
        assert_eq!(below.verdict(true), Verdict::LockAhead);
        assert_eq!(below.verdict(false), Verdict::HubAhead);
    }

    #[test]
    fn a_spread_that_includes_one_is_noise() {
        for ratios in [[0.9, 1.2, 1.3], [1.0, 1.2, 1.3], [0.8, 0.9, 1.0]] {
            let ratio = Spread::of(ratios).unwrap();
            assert_eq!(ratio.verdict(true), Verdict::WithinNoise, "{ratios:?}");
        }
    }

    #[test]
    fn one_round_says_nothing() {
        assert_eq!(Spread::of([2.0]).unwrap().verdict(true), Verdict::OneRound);
    }
}
