//! Rate limits of edge rules. Every request is decided in this process, in about a microsecond and without waiting for
//! anybody. Where there is a Redis, edges count together by leases; without one, or while it is away, each lets its share
//! through (docs/adr/0066-limits-by-leases.md).

mod lease;
mod local;
mod shared;
mod slots;

use std::{
    num::NonZeroU32,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rules::{Admission, LimitKey, Quota};

pub use local::{RateLimit, Table};
pub use shared::{InvalidUrl, Shared, Worker};

use lease::{Ask, Grant, Lease, Taken};
use shared::Wanted;
use slots::Slots;

/// Keys that are counted at a time, of all limits.
const KEYS: usize = 1 << 17;

/// All rate limits of an edge.
#[derive(Debug)]
pub struct Limits {
    table: Table,
    leases: Arc<Leases>,
    shared: OnceLock<Shared>,
}

/// What this edge holds of buckets in Redis.
#[derive(Debug)]
pub struct Leases {
    by_key: Slots<Lease>,
    /// The clock of leases begins here.
    begun: Instant,
}

impl Default for Limits {
    /// Counts alone.
    fn default() -> Self {
        Self {
            table: Table::new(KEYS),
            leases: Arc::new(Leases {
                by_key: Slots::new(KEYS),
                begun: Instant::now(),
            }),
            shared: OnceLock::new(),
        }
    }
}

impl Limits {
    /// Counts with others from now on. Only the first call counts.
    pub fn share(&self, shared: Shared) {
        let _ = self.shared.set(shared);
    }

    /// What is held of buckets in Redis, for who fetches it.
    #[must_use]
    pub fn leases(&self) -> Arc<Leases> {
        Arc::clone(&self.leases)
    }

    /// Where limits keep their counts.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Counts a request, at one of so many edges.
    #[must_use]
    pub fn admit(
        &self,
        limit: &Arc<RateLimit>,
        key: &LimitKey<'_>,
        edges: NonZeroU32,
    ) -> Admission {
        let tag = limit.tag(key);
        match self.shared.get() {
            Some(shared) if edges > NonZeroU32::MIN => {
                if shared.is_away() {
                    degraded(limit.admit(tag, edges))
                } else {
                    self.by_lease(shared, limit, key, tag, edges)
                }
            }
            _ => limit.admit(tag, edges),
        }
    }

    fn by_lease(
        &self,
        shared: &Shared,
        limit: &Arc<RateLimit>,
        key: &LimitKey<'_>,
        tag: u64,
        edges: NonZeroU32,
    ) -> Admission {
        let now = self.leases.now();
        self.leases.by_key.with(tag, |lease| {
            let admission = decide(lease, now, || limit.admit(tag, edges), limit);
            if let Some(ask) = lease.ask(now, limit.limit().get()) {
                let is_sent = shared.ask(Wanted {
                    tag,
                    limit: Arc::clone(limit),
                    name: limit.shared_name(key),
                    ask,
                    edges,
                });
                if !is_sent {
                    lease.lost(ask);
                }
            }
            admission
        })
    }
}

/// What a lease has to give, else what the edge's own share says. The share is counted in any case: should Redis go away,
/// no edge begins with a whole one.
fn decide(
    lease: &mut Lease,
    now: u64,
    by_share: impl FnOnce() -> Admission,
    limit: &RateLimit,
) -> Admission {
    match lease.take(now) {
        Taken::Token { remaining } => {
            let _ = by_share();
            let number = limit.limit().get();
            let used = number.saturating_sub(remaining);
            let reset = limit.window() / number * used;
            Admission::Admitted(limit.quota(remaining.min(number), reset))
        }
        Taken::Closed { wait } => Admission::Refused(limit.quota(0, Duration::from_micros(wait))),
        Taken::Unknown => {
            let admission = by_share();
            if let Admission::Admitted(_) = admission {
                lease.owe();
            }
            admission
        }
    }
}

fn degraded(admission: Admission) -> Admission {
    let mark = |quota: Quota| Quota {
        degraded: true,
        ..quota
    };
    match admission {
        Admission::Admitted(quota) => Admission::Admitted(mark(quota)),
        Admission::Refused(quota) => Admission::Refused(mark(quota)),
    }
}

impl Leases {
    fn now(&self) -> u64 {
        micros(self.begun.elapsed())
    }

    fn granted(&self, tag: u64, window: Duration, grant: Grant) {
        let now = self.now();
        self.by_key
            .with(tag, |lease| lease.granted(now, micros(window), grant));
    }

    fn lost(&self, tag: u64, ask: Ask) {
        self.by_key.with(tag, |lease| lease.lost(ask));
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use domain::{
        id::ServiceId,
        spec::{EdgeAction, EdgeRule},
    };

    use super::*;
    use crate::metrics;

    fn limit(limits: &Limits) -> Arc<RateLimit> {
        let rule: EdgeRule = serde_json::from_str(
            r#"{"if":"true","then":{"action":"rate_limit","key":"ip","limit":30,"window":"1d"}}"#,
        )
        .unwrap();
        let EdgeAction::RateLimit(action) = &rule.action else {
            panic!("{rule:?}");
        };
        let limit = RateLimit::new(ServiceId::new(), &rule, action, limits.table());
        Arc::new(limit)
    }

    fn passed(limits: &Limits, limit: &Arc<RateLimit>, edges: u32) -> (usize, bool) {
        let key = LimitKey::Network([192, 0, 2, 1].into());
        let edges = NonZeroU32::new(edges).unwrap();
        let mut is_degraded = false;
        let mut admits = || match limits.admit(limit, &key, edges) {
            Admission::Admitted(quota) => {
                is_degraded |= quota.degraded;
                true
            }
            Admission::Refused(quota) => {
                is_degraded |= quota.degraded;
                false
            }
        };
        let passed = (0..100).filter(|_| admits()).count();
        (passed, is_degraded)
    }

    #[test]
    fn an_edge_that_is_alone_lets_all_of_the_limit_through_and_others_their_share() {
        let limits = Limits::default();
        assert_eq!(passed(&limits, &limit(&limits), 1), (30, false));
        assert_eq!(passed(&limits, &limit(&limits), 3), (10, false));
    }

    #[test]
    fn while_redis_is_away_an_edge_goes_by_its_share_and_says_so() {
        let limits = Limits::default();
        let metrics = metrics::unregistered().unwrap();
        let (shared, _worker) = Shared::new("unix:///nowhere/redis.sock", &metrics).unwrap();
        limits.share(shared);
        assert_eq!(passed(&limits, &limit(&limits), 3), (10, true));
        assert_eq!(passed(&limits, &limit(&limits), 1), (30, false));
        assert_eq!(metrics.limit_degraded().get(), 1);
    }

    #[test]
    fn no_address_is_told_at_the_start() {
        let metrics = metrics::unregistered().unwrap();
        let error = Shared::new("nonsense", &metrics).unwrap_err();
        assert!(error.to_string().contains("limit.redis"), "{error}");
    }
}
