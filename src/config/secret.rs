//! Text that no log and no error may show.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// A secret. [`Debug`] says that there is one, and nothing about it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// This text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// 128 random bits, as 32 hexadecimal digits.
    ///
    /// # Panics
    /// When the operating system has no random numbers, without which nothing here is safe.
    #[must_use]
    pub fn random() -> Self {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).expect("the operating system has random numbers");
        Self(HEXLOWER.encode(&bits))
    }

    /// The text, for those who check it or hand it to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", Secret::new("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn random_secrets_have_128_bits_and_differ() {
        let (one, other) = (Secret::random(), Secret::random());
        assert_eq!(one.reveal().len(), 32);
        assert_ne!(one, other);
    }
}
