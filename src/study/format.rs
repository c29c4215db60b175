//! Numbers as people read them: three digits and a unit.

use std::time::Duration;

/// Units of a thousand each, from the largest that is not larger than the value.
const COUNTS: [(f64, &str); 4] = [(1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")];
const SECONDS: [(f64, &str); 3] = [(1e6, " s"), (1e3, " ms"), (1.0, " µs")];
const NANOSECONDS: [(f64, &str); 3] = [(1e6, " ms"), (1e3, " µs"), (1.0, " ns")];
const BYTES: [(f64, &str); 3] = [(1e6, " MB"), (1e3, " kB"), (1.0, " B")];

/// Such as `1.23 M`.
pub(crate) fn count(value: f64) -> String {
    with_unit(value, &COUNTS)
}

/// Microseconds, such as `1.23 ms`.
pub(crate) fn microseconds(value: f64) -> String {
    with_unit(value, &SECONDS)
}

/// Nanoseconds, such as `1.23 µs`.
pub(crate) fn nanoseconds(value: f64) -> String {
    with_unit(value, &NANOSECONDS)
}

/// Such as `1.23 kB`, of a thousand bytes.
pub(crate) fn bytes(value: f64) -> String {
    with_unit(value, &BYTES)
}

/// Such as `0.93×`.
pub(crate) fn ratio(value: f64) -> String {
    format!("{value:.2}×")
}

/// Such as `85 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// All digits, in groups of three.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Such as `1 min 40 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

/// A moment, from seconds since 1970, such as `2026-11-21 06:57 UTC`.
pub(crate) fn moment(unix_seconds: u64) -> String {
    let (year, month, day) = civil(unix_seconds / 86400);
    let minutes = unix_seconds % 86400 / 60;
    let (hour, minute) = (minutes / 60, minutes % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Year, month and day of a day since 1970, by counting in 400-year cycles that begin in March, so
/// that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn with_unit(value: f64, units: &[(f64, &str)]) -> String {
    let last = units.len() - 1;
    // What rounds to the next unit's one is written in that unit: 999.7 is 1 k.
    let fits = |(scale, _): &&(f64, &str)| value.abs() >= scale * 0.9995;
    let (scale, unit) = units.iter().find(fits).unwrap_or(&units[last]);
    let value = value / scale;
    let decimals = match value.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    // Digits that say nothing are left out, which is what makes a tick's number short.
    let text = if decimals > 0 {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!(count(0.0), "0");
        assert_eq!(count(10.0), "10");
        assert_eq!(count(1234.0), "1.23 k");
        assert_eq!(count(999_700.0), "1 M");
        assert_eq!(count(12_345_678.0), "12.3 M");
        assert_eq!(microseconds(0.5), "0.5 µs");
        assert_eq!(microseconds(1500.0), "1.5 ms");
        assert_eq!(nanoseconds(546.0), "546 ns");
        assert_eq!(bytes(1536.0), "1.54 kB");
        assert_eq!(ratio(0.934), "0.93×");
        assert_eq!(percent(0.85), "85 %");
    }

    #[test]
    fn long_numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn moments_know_leap_years() {
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(moment(1_795_244_251), "2026-11-21 06:57 UTC");
        assert_eq!(moment(4_107_542_399), "2100-02-28 23:59 UTC");
        assert_eq!(moment(4_107_542_400), "2100-03-01 00:00 UTC");
    }

    #[test]
    fn durations_are_in_minutes_and_seconds() {
        assert_eq!(duration(Duration::from_millis(59_400)), "59 s");
        assert_eq!(duration(Duration::from_secs(60)), "1 min");
        assert_eq!(duration(Duration::from_secs(100)), "1 min 40 s");
    }
}
