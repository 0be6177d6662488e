//! How much of faults and load is done: a tenth in `./dev test`, all of it when `RAILHEAD_CHAOS` is `full`.

use std::{env, time::Duration};

use rand::{SeedableRng as _, rngs::StdRng};

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// A tenth.
    Tenth,
    /// All.
    Full,
}

impl Scale {
    /// As the environment says.
    pub fn of_this_run() -> Self {
        match env::var("RAILHEAD_CHAOS").as_deref() {
            Ok("full") => Self::Full,
            _ => Self::Tenth,
        }
    }

    /// So many of `full`, at least one.
    pub fn of(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Tenth => (full / 10).max(1),
        }
    }

    /// So long of `full`.
    pub fn lasting(self, full: Duration) -> Duration {
        match self {
            Self::Full => full,
            Self::Tenth => full / 10,
        }
    }
}

/// Where the choices of a run come from: `RAILHEAD_CHAOS_SEED`, else chance. Print it.
pub fn seed() -> u64 {
    env::var("RAILHEAD_CHAOS_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random)
}

/// The choices of a seed.
pub fn choices(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;

    #[test]
    fn a_tenth_is_a_tenth_or_less_and_never_nothing() {
        assert_eq!([600, 16, 1].map(|full| Scale::Tenth.of(full)), [60, 1, 1]);
        assert_eq!(Scale::Full.of(600), 600);
    }

    #[test]
    fn a_seed_makes_the_same_choices_again() {
        let choose = |seed| choices(seed).random::<[u64; 4]>();
        assert_eq!(choose(7), choose(7));
        assert_ne!(choose(7), choose(8));
    }
}
