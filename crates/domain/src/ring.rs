//! Rings: the order in which a change that the platform makes itself reaches edges (docs/adr/0018). A
//! tenant's change goes to all rings at once.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The edges that get a platform-made change together.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Ring {
    /// The first to get a change: edges whose users can bear a mistake.
    Canary,
    /// The edges of one region, or of a few.
    Region,
    /// All others.
    #[default]
    All,
}

/// A word that names no ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no ring: expected canary, region or all")]
pub struct UnknownRing(String);

impl Ring {
    /// The rings in the order in which changes reach them.
    pub const ORDER: [Self; 3] = [Self::Canary, Self::Region, Self::All];

    /// The word in feeds' names, tables and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Region => "region",
            Self::All => "all",
        }
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Ring {
    type Err = UnknownRing;

    fn from_str(word: &str) -> Result<Self, UnknownRing> {
        Self::ORDER
            .into_iter()
            .find(|ring| ring.as_str() == word)
            .ok_or_else(|| UnknownRing(word.chars().take(50).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_reads_back_and_nothing_else_is_one() {
        for ring in Ring::ORDER {
            assert_eq!(ring.to_string().parse::<Ring>().unwrap(), ring);
        }
        assert!("everybody".parse::<Ring>().is_err());
    }
}
