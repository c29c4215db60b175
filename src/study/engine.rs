//! The engines that are compared.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    Lock,
    Hub,
}

impl Engine {
    /// In the order in which they are shown.
    pub(crate) const ALL: [Self; 2] = [Self::Lock, Self::Hub];

    /// As `--engine` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Hub => "hub",
        }
    }
}
