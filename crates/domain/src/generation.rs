//! Where a node's document stands: `(epoch, generation)`. A generation is bumped in the writing
//! transaction; an epoch rises only when the database's history may have been cut (restore,
//! failover). A receiver refuses what is older, and the same position with another digest.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Rises when the control plane's database may have lost history, and is no other history's: milliseconds
/// since 1970 at its beginning where clocks allow (`docs/adr/0038-no-two-histories-share-an-epoch.md`). The first is 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Epoch(pub i64);

/// Rises by one with each change of a document.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Generation(pub i64);

/// An epoch and a generation, compared in this order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The generation within the epoch.
    pub generation: Generation,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch.0, self.generation.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_epoch_is_newer_than_any_generation_of_the_old_one() {
        let old = Position {
            epoch: Epoch(1),
            generation: Generation(900),
        };
        let new = Position {
            epoch: Epoch(2),
            generation: Generation(1),
        };
        assert!(new > old);
    }
}
