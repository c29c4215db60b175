//! Where a value is on an axis, and which values are written beside it.

/// The steps that a reader counts in without thinking.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];

/// What a logarithmic axis has ticks at, in each power of ten: the most that fit are taken.
const LOG_STEPS: [&[f64]; 3] = [&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0], &STEPS, &[1.0]];

/// More ticks than that can't be told apart on a phone.
const TICKS_MAX: usize = 7;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    pub(crate) ticks: Vec<f64>,
}

impl Axis {
    /// From zero to a round number that is no less than any value.
    pub(crate) fn from_zero(values: impl IntoIterator<Item = f64>) -> Self {
        let high = values.into_iter().fold(0.0, f64::max);
        let high = if high > 0.0 { high } else { 1.0 };
        let step = round_up(high / 5.0, &STEPS);
        let count = (high / step).ceil();
        Self {
            low: 0.0,
            high: step * count,
            is_log: false,
            ticks: (0..=count as usize).map(|at| step * at as f64).collect(),
        }
    }

    /// Logarithmic, from one round number to another, around all values that are above zero.
    pub(crate) fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let (least, most) = range(values).unwrap_or((1.0, 10.0));
        let around = |steps| {
            let (low, high) = (round_down(least, steps), round_up(most, steps));
            let high = if high > low { high } else { low * 10.0 };
            round_numbers(low, high, steps)
        };
        let mut candidates = LOG_STEPS.into_iter().map(around);
        let fits = candidates.find(|ticks| ticks.len() <= TICKS_MAX);
        let mut ticks = fits.unwrap_or_else(|| around(&STEPS[..1]));
        let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
        while ticks.len() > TICKS_MAX {
            ticks = ticks.into_iter().step_by(2).collect();
        }
        Self {
            low,
            high,
            is_log: true,
            ticks,
        }
    }

    /// Logarithmic, with a tick at each of the values and nowhere else, and some room beside them.
    pub(crate) fn log_at(values: impl IntoIterator<Item = f64>) -> Self {
        let mut ticks: Vec<f64> = values.into_iter().filter(|value| *value > 0.0).collect();
        ticks.sort_unstable_by(f64::total_cmp);
        ticks.dedup();
        let (low, high) = range(ticks.iter().copied()).unwrap_or((1.0, 10.0));
        let beside = (high / low).powf(0.08).max(1.5);
        Self {
            low: low / beside,
            high: high * beside,
            is_log: true,
            ticks,
        }
    }

    /// Logarithmic, with 1 in the middle and room for all ratios.
    pub(crate) fn ratios(values: impl IntoIterator<Item = f64>) -> Self {
        const TICKS: [(f64, &[f64]); 4] = [
            (1.25, &[0.8, 0.9, 1.0, 1.1, 1.25]),
            (2.0, &[0.5, 0.7, 1.0, 1.4, 2.0]),
            (5.0, &[0.2, 0.5, 1.0, 2.0, 5.0]),
            (f64::INFINITY, &[0.01, 0.1, 1.0, 10.0, 100.0]),
        ];
        let (low, high) = range(values).unwrap_or((1.0, 1.0));
        let furthest = high.max(1.0 / low).max(1.2);
        let fits = TICKS.iter().find(|(limit, _)| furthest <= *limit);
        let ticks = fits.map_or(&[1.0][..], |(_, ticks)| *ticks);
        let high = ticks
            .iter()
            .copied()
            .fold(1.0, f64::max)
            .min(furthest * 1.3);
        let high = high.max(furthest) * 1.03;
        let is_shown = |tick: &f64| (1.0 / high..=high).contains(tick);
        Self {
            low: 1.0 / high,
            high,
            is_log: true,
            ticks: ticks.iter().copied().filter(is_shown).collect(),
        }
    }

    /// From 0 at the lower end to 1 at the upper.
    pub(crate) fn position(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }
}

/// The smallest and the largest value above zero.
fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .into_iter()
        .filter(|value| value.is_finite() && *value > 0.0)
        .fold(None, |range, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        })
}

/// The round numbers from `low` to `high`: these steps of every power of ten.
fn round_numbers(low: f64, high: f64, steps: &[f64]) -> Vec<f64> {
    let decades = decade(low)..=decade(high);
    decades
        .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
        .filter(|number| (low * 0.999..=high * 1.001).contains(number))
        .collect()
}

fn decade(value: f64) -> i32 {
    (value * 1.000_001).log10().floor() as i32
}

fn round_down(value: f64, steps: &[f64]) -> f64 {
    let unit = 10_f64.powi(decade(value));
    let fits = |step: &&f64| **step * unit <= value * 1.001;
    steps.iter().rev().find(fits).unwrap_or(&1.0) * unit
}

fn round_up(value: f64, steps: &[f64]) -> f64 {
    let unit = 10_f64.powi(decade(value));
    let fits = |step: &&f64| **step * unit >= value * 0.999;
    steps.iter().find(fits).unwrap_or(&10.0) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_at_a_tick() {
        let axis = Axis::from_zero([3.0, 17.0]);
        assert_eq!(axis.ticks, [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(axis.position(10.0), 0.5);
        assert_eq!(Axis::from_zero([]).position(0.0), 0.0);
    }

    #[test]
    fn a_logarithmic_axis_is_around_all_values() {
        let axis = Axis::log([1200.0, 1800.0]);
        assert_eq!(axis.ticks, [1000.0, 1500.0, 2000.0]);
        let axis = Axis::log([3.0, 70.0]);
        assert_eq!(axis.ticks, [2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(axis.position(2.0), 0.0);
        assert_eq!(axis.position(100.0), 1.0);
        let axis = Axis::log([1.0, 1e6]);
        assert_eq!(axis.ticks, [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6]);
    }

    #[test]
    fn no_values_and_one_value_have_an_axis_too() {
        for axis in [
            Axis::log([]),
            Axis::log([7.0]),
            Axis::log([0.0]),
            Axis::log_at([10.0]),
        ] {
            let position = axis.position(7.0);
            assert!((0.0..=1.0).contains(&position), "{axis:?}");
            assert!(!axis.ticks.is_empty(), "{axis:?}");
        }
    }

    #[test]
    fn one_is_in_the_middle_of_ratios() {
        for values in [[0.95, 1.1], [0.9, 1.7], [0.3, 0.4], [0.01, 7.0]] {
            let axis = Axis::ratios(values);
            assert!((axis.position(1.0) - 0.5).abs() < 1e-9, "{axis:?}");
            assert!(axis.ticks.contains(&1.0));
            for value in values {
                let position = axis.position(value);
                assert!(position > 0.0 && position < 1.0, "{value} in {axis:?}");
            }
        }
    }
}
