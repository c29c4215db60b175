//! Durations and sizes in words (`30s`, `64KiB`), both ways, and as serde knows them.
//!
//! What is written is read back as the same value. Units of size are decimal (`kB` is 1000 bytes) or
//! binary (`KiB` is 1024 bytes), in any case. A letter alone (`64k`) could be either and is refused.

use std::{fmt, time::Duration};

/// Units of time and their length in nanoseconds, the longest first.
const DURATION_UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of size that are powers of 1024, and their length in bytes, the largest first. Sizes are
/// written in these.
const BINARY_UNITS: [(&str, u128); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Units of size that are powers of 1000, and their length in bytes.
const DECIMAL_UNITS: [(&str, u128); 4] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

const DURATION_EXPECTED: &str =
    "a whole number with a unit (ns, us, ms, s, m, h, d), such as 250ms, 30s, 1h30m or 1d";
const SIZE_EXPECTED: &str = "a whole number of bytes, or one with a unit, such as 512B, 64KiB \
    (1024 bytes each) or 64kB (1000 bytes each)";

/// Why a text is not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnitError {
    /// The text is not a whole number with a unit of time.
    Duration(String),
    /// The text is not a whole number, alone or with a unit of size.
    Size(String),
    /// The text is well formed, but no machine counts that far.
    TooLarge(String),
}

impl fmt::Display for UnitError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration(text) => {
                write!(
                    out,
                    "\"{text}\" is not a duration (write {DURATION_EXPECTED})"
                )
            }
            Self::Size(text) => write!(out, "\"{text}\" is not a size (write {SIZE_EXPECTED})"),
            Self::TooLarge(text) => write!(out, "\"{text}\" is too large (write less)"),
        }
    }
}

impl std::error::Error for UnitError {}

/// The duration that `text` says: whole numbers, each with a unit from `ns` to `d`, the longest unit
/// first (`30s`, `1h30m`).
///
/// # Errors
/// [`UnitError`] if it says none, or one of more than 2⁶⁴ seconds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let malformed = || UnitError::Duration(text.to_owned());
    let mut rest = text.trim();
    let mut nanos = 0_u128;
    let mut longer = u128::MAX;
    while !rest.is_empty() || longer == u128::MAX {
        let (number, after) = split(rest);
        let end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let length = length_of(DURATION_UNITS.iter(), |name| name == unit);
        let (Some(number), Some(length)) = (number, length) else {
            return Err(malformed());
        };
        // `30m1h` and `5s5s` are more likely a slip than a sum.
        if length >= longer {
            return Err(malformed());
        }
        longer = length;
        nanos = nanos.saturating_add(number.saturating_mul(length));
        rest = after.trim_start();
    }
    // What saturates is far beyond 2⁶⁴ seconds.
    let secs = u64::try_from(nanos / 1_000_000_000);
    let rest = u32::try_from(nanos % 1_000_000_000);
    match (secs, rest) {
        (Ok(secs), Ok(rest)) => Ok(Duration::new(secs, rest)),
        _ => Err(UnitError::TooLarge(text.to_owned())),
    }
}

/// The number of bytes that `text` says: a whole number, alone or with a unit. `kB`, `MB`, `GB` and
/// `TB` are powers of 1000, `KiB`, `MiB`, `GiB` and `TiB` powers of 1024, in any case.
///
/// # Errors
/// [`UnitError`] if it says none, or one that does not fit in the machine's word.
pub fn parse_size(text: &str) -> Result<usize, UnitError> {
    let (number, unit) = split(text.trim());
    let unit = if unit.is_empty() { "B" } else { unit };
    let length = length_of(BINARY_UNITS.iter().chain(&DECIMAL_UNITS), |name| {
        name.eq_ignore_ascii_case(unit)
    });
    let (Some(number), Some(length)) = (number, length) else {
        return Err(UnitError::Size(text.to_owned()));
    };
    number
        .checked_mul(length)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

/// Writes a duration so that [`parse_duration`] reads the same one.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    if duration.is_zero() {
        "0s".to_owned()
    } else {
        // Hours are the longest unit written: limits are compared in them.
        format(&DURATION_UNITS[1..], duration.as_nanos())
    }
}

/// Writes a number of bytes so that [`parse_size`] reads the same one.
#[must_use]
pub fn format_size(bytes: usize) -> String {
    // Widening: no machine's word is wider than 128 bits.
    if bytes == 0 {
        "0B".to_owned()
    } else {
        format(&BINARY_UNITS, bytes as u128)
    }
}

fn format(units: &[(&str, u128)], amount: u128) -> String {
    let (name, length) = units
        .iter()
        .find(|(_, length)| amount.is_multiple_of(*length))
        .expect("the last unit is 1, which divides everything");
    format!("{}{name}", amount / length)
}

/// Splits into the number in front, if it is one that fits, and what follows it.
fn split(text: &str) -> (Option<u128>, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    // Digits beyond 128 bits saturate, so that they are refused as too large, not as no number.
    let number = (!number.is_empty()).then(|| number.parse().unwrap_or(u128::MAX));
    (number, unit.trim_start())
}

fn length_of<'a>(
    mut units: impl Iterator<Item = &'a (&'a str, u128)>,
    is_meant: impl Fn(&str) -> bool,
) -> Option<u128> {
    units
        .find(|(name, _)| is_meant(name))
        .map(|(_, length)| *length)
}

/// For `#[serde(with)]`: a duration as text with a unit. A bare number is refused: it says no unit.
pub(super) mod duration {
    use std::{fmt, time::Duration};

    use serde::{Deserializer, Serializer, de};

    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    pub(in super::super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        deserializer.deserialize_str(Text)
    }

    struct Text;

    impl de::Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str(super::DURATION_EXPECTED)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            super::parse_duration(text).map_err(E::custom)
        }
    }
}

/// For `#[serde(with)]`: a size as text with a unit, or as a number of bytes.
pub(super) mod size {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &usize,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_size(*bytes))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<usize, D::Error> {
        deserializer.deserialize_any(TextOrNumber)
    }

    struct TextOrNumber;

    impl de::Visitor<'_> for TextOrNumber {
        type Value = usize;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str(super::SIZE_EXPECTED)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<usize, E> {
            super::parse_size(text).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<usize, E> {
            usize::try_from(bytes)
                .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(bytes), &self))
        }

        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<usize, E> {
            usize::try_from(bytes)
                .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
        }
    }
}

/// For `#[serde(deserialize_with)]`: an address to listen on, with an error that says what one is.
pub(super) mod address {
    use std::net::SocketAddr;

    use serde::{Deserialize as _, Deserializer, de};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SocketAddr, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            de::Error::custom(format_args!(
                "\"{text}\" is not an address to listen on (write an IP address and a port, such \
                 as 127.0.0.1:8080 or [::1]:8080)"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("1d 2h 3m 4s 5ms", 93_784_005),
            ("2 d", 172_800_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        assert_eq!(parse_duration(" 5 s "), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("7us"), Ok(Duration::from_micros(7)));
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_what_would_be_right() {
        for text in [
            "30", "", " ", "s", "1.5s", "-1s", "1 day", "1H", "1h30", "30m1h", "5s5s", "1h,30m",
        ] {
            assert_eq!(
                parse_duration(text),
                Err(UnitError::Duration(text.to_owned())),
                "{text}"
            );
        }
        assert_eq!(
            parse_duration("30").unwrap_err().to_string(),
            "\"30\" is not a duration (write a whole number with a unit (ns, us, ms, s, m, h, d), \
             such as 250ms, 30s, 1h30m or 1d)"
        );
    }

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, bytes) in [
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65_536),
            ("1 MiB", 1 << 20),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn units_of_size_are_decimal_or_binary_in_any_case() {
        for (text, bytes) in [
            ("10MB", 10_000_000),
            ("10 MB", 10_000_000),
            ("10mb", 10_000_000),
            ("10kB", 10_000),
            ("10KB", 10_000),
            ("1GB", 1_000_000_000),
            ("2kib", 2048),
            ("2 mIb", 2 << 20),
            ("1gib", 1 << 30),
            ("7b", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn ambiguous_and_unknown_sizes_are_refused_with_what_would_be_right() {
        for text in [
            "64k", "64K", "1M", "1Ki", "", "KiB", "1.5MiB", "-1", "1MB2kB",
        ] {
            assert_eq!(parse_size(text), Err(UnitError::Size(text.to_owned())));
        }
        assert_eq!(
            parse_size("64k").unwrap_err().to_string(),
            "\"64k\" is not a size (write a whole number of bytes, or one with a unit, such as \
             512B, 64KiB (1024 bytes each) or 64kB (1000 bytes each))"
        );
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_not_wrapped() {
        let digits = "9".repeat(60);
        for text in [
            "18446744073709551615h",
            "18446744073709551615s1000ms",
            &format!("{digits}s"),
            &format!("{digits}ns"),
        ] {
            assert_eq!(
                parse_duration(text),
                Err(UnitError::TooLarge(text.to_owned()))
            );
        }
        for text in ["18446744073709551615GiB", &digits] {
            assert_eq!(parse_size(text), Err(UnitError::TooLarge(text.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_as_the_same_value(
            secs: u64, nanos in 0..1_000_000_000_u32, bytes: usize
        ) {
            let duration = Duration::new(secs, nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
    }
}
