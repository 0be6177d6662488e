//! How often the provider is asked: again when something else is wanted, now and then to find what was changed
//! by hand, and ever more seldom while it refuses. Pure: whoever asks says what time it is.

use std::time::{Duration, Instant};

use super::goal::Goal;

/// What a healthy zone says is read again after this long, though nothing else is wanted.
const LOOK_EVERY: Duration = Duration::from_secs(50);
/// After a failure; doubles with each.
const BACKOFF: Duration = Duration::from_secs(50);
const BACKOFF_MAX: Duration = Duration::from_secs(900);

/// Whether it is time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    /// All is as wanted, and was looked at a moment ago.
    Rest,
    /// The provider has failed, with these words.
    BackOff(Duration, String),
}

/// What happened last.
#[derive(Debug, Default)]
pub(super) struct Pace {
    reached: Option<(Instant, Vec<Goal>)>,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    at: Instant,
    times: u32,
    reason: String,
}

impl Pace {
    pub(super) fn due(&self, now: Instant, goals: &[Goal]) -> Due {
        if let Some(failed) = &self.failed {
            let left = failed.pause().saturating_sub(now.duration_since(failed.at));
            if !left.is_zero() {
                return Due::BackOff(left, failed.reason.clone());
            }
        }
        let is_fresh = |(at, reached): &(Instant, Vec<Goal>)| {
            now.duration_since(*at) < LOOK_EVERY && reached == goals
        };
        if self.reached.as_ref().is_some_and(is_fresh) {
            Due::Rest
        } else {
            Due::Now
        }
    }

    pub(super) fn reached(&mut self, now: Instant, goals: Vec<Goal>) {
        self.reached = Some((now, goals));
        self.failed = None;
    }

    /// The provider answered; yet the zone is not as wanted, for reasons that asking less often does not mend.
    pub(super) fn answered(&mut self) {
        self.reached = None;
        self.failed = None;
    }

    pub(super) fn failed(&mut self, now: Instant, reason: String) {
        let times = self
            .failed
            .as_ref()
            .map_or(1, |failed| failed.times.saturating_add(1));
        self.reached = None;
        self.failed = Some(Failed {
            at: now,
            times,
            reason,
        });
    }
}

impl Failed {
    /// 50 s, doubling, at most a quarter of an hour.
    fn pause(&self) -> Duration {
        let doublings = self.times.saturating_sub(1).min(10);
        (BACKOFF * (1 << doublings)).min(BACKOFF_MAX)
    }
}

#[cfg(test)]
mod tests {
    use crate::dns::record::{Key, Kind};

    use super::*;

    fn goal(name: &str) -> Vec<Goal> {
        let key = Key {
            name: name.to_owned(),
            kind: Kind::A,
            id: None,
        };
        vec![Goal::Keep(key)]
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_reached_is_looked_at_again_after_a_while_or_for_another_goal() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due(start, &goal("a")), Due::Now);
        pace.reached(start, goal("a"));
        assert_eq!(pace.due(after(start, 49), &goal("a")), Due::Rest);
        assert_eq!(pace.due(after(start, 1), &goal("b")), Due::Now);
        assert_eq!(pace.due(after(start, 50), &goal("a")), Due::Now);
    }

    #[test]
    fn a_provider_that_fails_is_asked_ever_more_seldom_even_for_another_goal() {
        let mut now = Instant::now();
        let mut pace = Pace::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pace.failed(now, "no".to_owned());
            let Due::BackOff(pause, reason) = pace.due(now, &goal("b")) else {
                panic!("asked at once");
            };
            assert_eq!(reason, "no");
            pauses.push(pause.as_secs());
            now += pause;
            assert_eq!(pace.due(now, &goal("b")), Due::Now);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 900, 900]);
        pace.reached(now, goal("b"));
        pace.failed(now, "no".to_owned());
        assert_eq!(
            pace.due(now, &goal("b")),
            Due::BackOff(Duration::from_secs(50), "no".to_owned())
        );
    }

    #[test]
    fn a_zone_that_is_not_as_wanted_is_looked_at_at_every_turn() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.reached(start, goal("a"));
        pace.answered();
        assert_eq!(pace.due(start, &goal("a")), Due::Now);
    }
}
