//! An order for one hostname's certificate, and what follows from what became of a step: pure, so that every way that
//! it may go is tested without an authority.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::id::{DomainId, OrganizationId};

use crate::secrets::Sealed;

/// Failures after which the next authority is asked.
const FAILURES_PER_AUTHORITY: u32 = 2;

/// Between two looks at what an authority or edges are about.
pub const LOOK: Duration = Duration::from_secs(2);

/// An order that has not got any further for so long begins anew.
pub const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Characters of what an owner is told.
const MESSAGE_MAX: usize = 500;

/// A certificate that lives shorter than this is renewed at the half of its life.
const SHORT_LIVED: TimeDelta = TimeDelta::days(10);

/// No certificate is renewed sooner after its begin, or after the twentieth part of its life.
const SOONEST: TimeDelta = TimeDelta::hours(6);

/// One that is claimed.
#[derive(Debug, Clone)]
pub struct Order {
    pub domain: DomainId,
    pub organization: OrganizationId,
    /// Perhaps with `*.` in front.
    pub hostname: String,
    /// Of the row.
    pub version: i64,
    /// In a row.
    pub failures: u32,
    /// How long it has been at its step, by the database's clock.
    pub at_step_for: Duration,
    /// The hostname is served with a certificate already.
    pub is_renewal: bool,
    /// The authority and the chain (PEM) of that one, if it came by ACME.
    pub renews: Option<(String, String)>,
    pub step: Step,
}

/// How far it is.
#[derive(Debug, Clone)]
pub enum Step {
    /// For its turn.
    Waiting,
    /// The authority waits for an answer, which is on its way to edges.
    Published(Placed),
    /// The authority asks edges.
    Validating(Placed),
    /// The authority makes the certificate for this key.
    Finalizing(Placed, Sealed),
}

/// An order that an authority has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// As the configuration calls it.
    pub authority: String,
    /// Where the order is.
    pub url: String,
    /// None: the hostname was proven there lately.
    pub challenge: Option<Challenge>,
}

/// What edges answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub token: String,
    pub key_authorization: String,
}

impl Step {
    /// As stored.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Published(_) => "published",
            Self::Validating(_) => "validating",
            Self::Finalizing(..) => "finalizing",
        }
    }

    pub const fn placed(&self) -> Option<&Placed> {
        match self {
            Self::Waiting => None,
            Self::Published(placed) | Self::Validating(placed) | Self::Finalizing(placed, _) => {
                Some(placed)
            }
        }
    }

    pub const fn key(&self) -> Option<&Sealed> {
        match self {
            Self::Finalizing(_, key) => Some(key),
            Self::Waiting | Self::Published(_) | Self::Validating(_) => None,
        }
    }
}

/// Why there is no certificate yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    /// For the owner of the hostname: what was tried, and what to do.
    pub message: String,
}

impl Problem {
    /// In one line of a bearable length: some of it comes from elsewhere.
    pub fn new(code: Code, message: impl AsRef<str>) -> Self {
        let visible = message.as_ref().replace(char::is_control, " ");
        let words: Vec<&str> = visible.split_whitespace().collect();
        Self {
            code,
            message: words.join(" ").chars().take(MESSAGE_MAX).collect(),
        }
    }
}

/// Kinds of problems, as stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The hostname no longer leads here, or no longer says whose it is.
    Dns,
    /// Its CAA records keep the authority from issuing.
    Caa,
    /// The authority found another answer than ours.
    Validation,
    /// The authority refuses for another reason.
    Refused,
    /// The authority asks for patience.
    RateLimited,
    /// The authority can't be reached, or fails.
    Unavailable,
    /// Edges don't take over what the authority shall be answered.
    Edges,
    /// Only DNS can prove a wildcard.
    Wildcard,
}

impl Code {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dns => "certificate_dns",
            Self::Caa => "certificate_caa",
            Self::Validation => "certificate_validation",
            Self::Refused => "certificate_refused",
            Self::RateLimited => "certificate_rate_limited",
            Self::Unavailable => "certificate_authority_unavailable",
            Self::Edges => "certificate_edges",
            Self::Wildcard => "certificate_wildcard",
        }
    }

    /// Whether the very step may do in a moment: the order itself stands.
    pub const fn passes(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable)
    }
}

/// Which of so many authorities the next order goes to.
#[must_use]
pub const fn authority(failures: u32, authorities: usize) -> Option<usize> {
    if authorities == 0 {
        return None;
    }
    Some((failures / FAILURES_PER_AUTHORITY) as usize % authorities)
}

/// How long after so many failures in a row (this one included) the next order waits: an authority refuses who asks again
/// and again for what it can't validate (Let's Encrypt: five times an hour and hostname).
#[must_use]
pub fn backoff(code: Code, failures: u32) -> Duration {
    const MINUTE: u64 = 60;
    let minutes = match (code, failures) {
        (Code::RateLimited, _) => 60,
        (_, 0 | 1) => 1,
        (_, 2) => 10,
        (_, 3) => 100,
        _ => 24 * 60,
    };
    Duration::from_secs(minutes * MINUTE)
}

/// When a certificate is renewed. `window` is what its authority suggests; `chance` (0 to 1) spreads many over it.
#[must_use]
pub fn renew_at(
    (not_before, not_after): (DateTime<Utc>, DateTime<Utc>),
    window: Option<(DateTime<Utc>, DateTime<Utc>)>,
    chance: f64,
) -> DateTime<Utc> {
    let life = not_after - not_before;
    let (from, to) = window.unwrap_or_else(|| {
        let from = if life < SHORT_LIVED {
            life / 2
        } else {
            life * 2 / 3
        };
        (not_before + from, not_before + from + life / 20)
    });
    let width = (to - from).num_seconds().max(0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "seconds of at most some years"
    )]
    let offset = (width as f64 * chance.clamp(0.0, 1.0)) as i64;
    // Whatever a window says: not so late that a refused order is the last, and not again and again.
    let soonest = not_before + (life / 20).min(SOONEST);
    (from + TimeDelta::seconds(offset))
        .min(not_after - life / 10)
        .max(soonest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_authority_is_asked_after_two_failures_and_the_first_one_again_in_the_end() {
        let asked: Vec<_> = (0..6)
            .map(|failures| authority(failures, 2).unwrap())
            .collect();
        assert_eq!(asked, [0, 0, 1, 1, 0, 0]);
        assert_eq!(authority(7, 1), Some(0));
        assert_eq!(authority(0, 0), None);
    }

    #[test]
    fn who_fails_again_and_again_waits_longer() {
        let minutes = |failures| backoff(Code::Validation, failures).as_secs() / 60;
        assert_eq!([1, 2, 3, 4, 9].map(minutes), [1, 10, 100, 1_440, 1_440]);
        assert_eq!(backoff(Code::RateLimited, 0).as_secs(), 3_600);
        assert!(Code::RateLimited.passes() && !Code::Dns.passes());
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    const DAY: i64 = 86_400;

    #[test]
    fn without_a_window_at_two_thirds_of_a_life_and_at_the_half_of_a_short_one() {
        let when = |days: i64| renew_at((at(0), at(days * DAY)), None, 0.0).timestamp();
        assert_eq!(when(90), 60 * DAY);
        assert_eq!(when(6), 3 * DAY);
    }

    proptest! {
        #[test]
        fn a_certificate_is_renewed_in_its_window_and_never_in_its_last_tenth(
            life in 3_600..400 * DAY, from in 0.0..2.0_f64, width in 0..40 * DAY, chance in 0.0..=1.0_f64
        ) {
            let begin = at((life as f64 * from) as i64);
            let end = begin + TimeDelta::seconds(width);
            let renewed = renew_at((at(0), at(life)), Some((begin, end)), chance);
            prop_assert!(renewed <= at(life - life / 10));
            prop_assert!(renewed >= begin || renewed == at(life) - TimeDelta::seconds(life) / 10);
            prop_assert!(renewed > at(0));
            prop_assert!(renewed <= end || renewed <= at(0) + SOONEST);
        }
    }
}
