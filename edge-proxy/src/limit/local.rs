//! A rate limit as one edge counts it: `governor`'s algorithm over a table of bounded size. By itself an edge lets its
//! share through: each request costs as many cells as there are edges.

use std::{
    hash::{BuildHasher as _, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use domain::{
    id::ServiceId,
    spec::{EdgeRule, RateLimitAction},
};
use governor::{
    NotUntil, RateLimiter,
    clock::{Clock as _, DefaultClock, QuantaInstant},
    middleware::{StateInformationMiddleware, StateSnapshot},
    nanos::Nanos,
    state::StateStore,
};
use rules::{Admission, LimitKey, Quota};
use sha2::{Digest as _, Sha256};

use super::slots::Slots;

/// `governor`'s state of each key, of all limits.
#[derive(Debug, Clone)]
pub struct Table(Arc<Slots<u64>>);

impl Table {
    /// Room for about so many keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self(Arc::new(Slots::new(keys)))
    }
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.with(*key, |state| {
            let known = (*state != 0).then(|| Nanos::from(*state));
            let (result, next) = measure(known)?;
            *state = next.as_u64();
            Ok(result)
        })
    }
}

/// The limit of one rule.
pub struct RateLimit {
    limit: NonZeroU32,
    window: Duration,
    /// The same at every edge, and no other rule's.
    identity: [u8; 32],
    /// Keys of a limit that is no more, or was anew, mean nothing to this one.
    seed: RandomState,
    counter: RateLimiter<u64, Table, DefaultClock, StateInformationMiddleware>,
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit")
            .field("limit", &self.limit)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl RateLimit {
    /// Of a rule of a service.
    #[must_use]
    pub fn new(
        service: ServiceId,
        rule: &EdgeRule,
        limit: &RateLimitAction,
        table: &Table,
    ) -> Self {
        let number = NonZeroU32::new(limit.limit).unwrap_or(NonZeroU32::MIN);
        let window = limit.window.duration().max(Duration::from_millis(1));
        let interval = (window / number.get()).max(Duration::from_nanos(1));
        let quota = governor::Quota::with_period(interval)
            .unwrap_or(governor::Quota::per_second(number))
            .allow_burst(number);
        Self {
            limit: number,
            window,
            identity: Self::identity(service, rule, limit),
            seed: RandomState::new(),
            counter: RateLimiter::new(quota, table.clone(), DefaultClock::default()),
        }
    }

    /// Names the limit of a rule: the same rule goes on where it was, in whatever place it stands now.
    #[must_use]
    pub fn identity(service: ServiceId, rule: &EdgeRule, limit: &RateLimitAction) -> [u8; 32] {
        let name = rule.name.as_ref().map_or("", |name| name.as_str());
        let parts = [
            service.to_string(),
            name.to_owned(),
            rule.condition.clone(),
            limit.key.to_string(),
            limit.limit.to_string(),
            limit.window.to_string(),
        ];
        Sha256::digest(parts.join("\0")).into()
    }

    /// Whether it is the limit with this identity.
    #[must_use]
    pub fn is(&self, identity: &[u8; 32]) -> bool {
        self.identity == *identity
    }

    /// Of requests at once.
    #[must_use]
    pub const fn limit(&self) -> NonZeroU32 {
        self.limit
    }

    /// In which they come back.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// Names a key in this process.
    #[must_use]
    pub fn tag(&self, key: &LimitKey<'_>) -> u64 {
        self.seed.hash_one(key)
    }

    /// Names a key among all edges. Nobody learns from it whose it is.
    #[must_use]
    pub fn shared_name(&self, key: &LimitKey<'_>) -> String {
        let hash = Sha256::new()
            .chain_update(self.identity)
            .chain_update(key.to_string())
            .finalize();
        let half = hash.get(..16).unwrap_or_default();
        format!("railhead:limit:{}", hex::encode(half))
    }

    /// Counts a request as one of so many edges.
    #[must_use]
    pub fn admit(&self, tag: u64, edges: NonZeroU32) -> Admission {
        let cost = edges.min(self.limit);
        match self.counter.check_key_n(&tag, cost) {
            Ok(Ok(state)) => Admission::Admitted(self.left(&state, cost)),
            Ok(Err(refused)) => Admission::Refused(self.none(&refused)),
            // Never: it costs no more than there may be at once.
            Err(_) => Admission::Admitted(self.quota(0, Duration::ZERO)),
        }
    }

    fn left(&self, state: &StateSnapshot, cost: NonZeroU32) -> Quota {
        let remaining = state.remaining_burst_capacity();
        let used = self.limit.get().saturating_sub(remaining);
        let reset = state.quota().replenish_interval() * used;
        self.quota(remaining / cost, reset)
    }

    fn none(&self, refused: &NotUntil<QuantaInstant>) -> Quota {
        let now = self.counter.clock().now();
        self.quota(0, refused.wait_time_from(now))
    }

    /// What is left, as answers tell it.
    #[must_use]
    pub const fn quota(&self, remaining: u32, reset: Duration) -> Quota {
        Quota {
            limit: self.limit.get(),
            remaining,
            reset,
            degraded: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(number: u32) -> RateLimit {
        let rule: EdgeRule = serde_json::from_value(serde_json::json!({
            "if": "true",
            "then": { "action": "rate_limit", "key": "ip", "limit": number, "window": "1d" },
        }))
        .unwrap();
        let domain::spec::EdgeAction::RateLimit(action) = &rule.action else {
            panic!("{rule:?}");
        };
        RateLimit::new(ServiceId::new(), &rule, action, &Table::new(64))
    }

    fn admitted(limit: &RateLimit, key: &LimitKey<'_>, edges: u32) -> usize {
        let edges = NonZeroU32::new(edges).unwrap();
        let tag = limit.tag(key);
        let asked = (0..1_000).map(|_| limit.admit(tag, edges));
        asked
            .filter(|one| matches!(one, Admission::Admitted(_)))
            .count()
    }

    #[test]
    fn an_edge_lets_its_share_through_and_one_more_key_has_its_own() {
        for (number, edges, expected) in [(20, 1, 20), (20, 3, 6), (20, 20, 1), (2, 5, 1)] {
            let limit = limit(number);
            let one = LimitKey::Network([192, 0, 2, 1].into());
            assert_eq!(admitted(&limit, &one, edges), expected, "{number}/{edges}");
            let other = LimitKey::Network([192, 0, 2, 2].into());
            assert_eq!(admitted(&limit, &other, edges), expected);
        }
    }

    #[test]
    fn what_is_left_is_told() {
        let limit = limit(3);
        let tag = limit.tag(&LimitKey::Service);
        let one = NonZeroU32::MIN;
        for remaining in [2, 1, 0] {
            let Admission::Admitted(quota) = limit.admit(tag, one) else {
                panic!("refused");
            };
            assert_eq!((quota.limit, quota.remaining), (3, remaining));
        }
        let Admission::Refused(quota) = limit.admit(tag, one) else {
            panic!("admitted");
        };
        assert!(quota.reset > Duration::from_secs(3_600), "{quota:?}");
    }

    #[test]
    fn buckets_have_one_name_at_every_edge_and_no_two_share_one() {
        let (one, other) = (limit(3), limit(3));
        let key = LimitKey::Network([192, 0, 2, 1].into());
        assert_ne!(
            one.shared_name(&key),
            other.shared_name(&key),
            "two services"
        );
        assert_ne!(one.shared_name(&key), one.shared_name(&LimitKey::Service));
        assert_eq!(one.shared_name(&key), one.shared_name(&key.clone()));
        assert!(!one.shared_name(&key).contains("192"));
    }
}
