//! How long to wait before trying again: three restarts at once, then 30 s doubling
//! to 15 min; a container that ran long enough begins anew.

use std::time::Duration;

const AT_ONCE: u32 = 3;
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// A container that ran this long before it ended is not in a crash loop.
pub const STEADY: Duration = Duration::from_secs(10 * 60);

/// Before a container that has ended `failures` times in a row is started again.
#[must_use]
pub fn after_exit(failures: u32) -> Duration {
    match failures.checked_sub(AT_ONCE + 1) {
        None => Duration::ZERO,
        Some(doublings) => doubled(FIRST, doublings, LONGEST),
    }
}

/// Before anything is tried again for an instance whose actions failed `failures` times in a row. An engine, a disk or a
/// registry that is well again tells nobody, so nobody waits for long.
#[must_use]
pub fn after_failed_action(failures: u32) -> Duration {
    doubled(
        Duration::from_secs(2),
        failures.saturating_sub(1),
        Duration::from_secs(16),
    )
}

fn doubled(first: Duration, doublings: u32, longest: Duration) -> Duration {
    2_u32
        .checked_pow(doublings)
        .and_then(|factor| first.checked_mul(factor))
        .map_or(longest, |delay| delay.min(longest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_at_once_then_thirty_seconds_doubling_to_fifteen_minutes() {
        let seconds: Vec<u64> = (1..=10).map(|n| after_exit(n).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 0, 30, 60, 120, 240, 480, 900, 900]);
    }

    #[test]
    fn what_was_refused_is_tried_again_within_sixteen_seconds() {
        let seconds: Vec<u64> = (1..=6).map(|n| after_failed_action(n).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 16, 16]);
    }

    proptest! {
        #[test]
        fn never_shrinks_and_never_passes_the_limit(failures: u32) {
            prop_assert!(after_exit(failures) <= after_exit(failures.saturating_add(1)));
            prop_assert!(after_exit(failures) <= LONGEST);
            prop_assert!(after_failed_action(failures) >= Duration::from_secs(2));
        }
    }
}
