//! Virtual time in whole milliseconds, shown to production code as the two clocks that it reads.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use agent::reconcile::Clock;
use chrono::{DateTime, TimeDelta, Utc};

/// Milliseconds since the simulation's start.
pub type Millis = u64;

pub const SECOND: Millis = 1_000;
pub const MINUTE: Millis = 60 * SECOND;

/// Far enough from the machine's start that production code may look back from it.
static START: LazyLock<Instant> = LazyLock::new(|| Instant::now() + Duration::from_secs(86_400));

/// On the monotonic clock.
#[must_use]
pub fn instant(at: Millis) -> Instant {
    *START + Duration::from_millis(at)
}

/// On the wall clock.
#[must_use]
pub fn wall(at: Millis) -> DateTime<Utc> {
    let millis = i64::try_from(at).unwrap_or(i64::MAX);
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::milliseconds(millis)
}

/// Both, as agents read them.
#[must_use]
pub fn clock(at: Millis) -> Clock {
    Clock {
        now: instant(at),
        wall: wall(at),
    }
}

/// The first whole millisecond that is not before `moment`.
#[must_use]
pub fn millis_of(moment: Instant) -> Millis {
    let since = moment.saturating_duration_since(*START);
    u64::try_from(since.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}
