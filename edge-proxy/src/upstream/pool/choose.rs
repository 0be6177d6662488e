//! Which endpoint a request gets.

use std::{sync::Arc, time::Instant};

use domain::id::InstanceId;

use super::ServicePool;
use crate::upstream::endpoint::Endpoint;

impl ServicePool {
    /// A usable endpoint with room that was not tried yet: one below the soft limit, if there is one, and of two the one with
    /// fewer requests in flight.
    #[must_use]
    pub fn choose(&self, tried: &[InstanceId], now: Instant) -> Option<Arc<Endpoint>> {
        self.choice(tried, now).flatten()
    }

    /// Whether there are endpoints that a request could go to, and none has room.
    #[must_use]
    pub fn is_full(&self, tried: &[InstanceId], now: Instant) -> bool {
        matches!(self.choice(tried, now), Some(None))
    }

    /// Whether any endpoint can be used now.
    #[must_use]
    pub fn has_usable(&self, now: Instant) -> bool {
        self.choice(&[], now).is_some()
    }

    /// Among the endpoints of the feed, if any of them can be used, else among those that agents named, else among those that
    /// are leaving. Some(None) when none of these has room.
    fn choice(&self, tried: &[InstanceId], now: Instant) -> Option<Option<Arc<Endpoint>>> {
        self.among(self.endpoints.iter(), tried)
            .or_else(|| self.among(self.discovered().iter(), tried))
            .or_else(|| self.among(self.leaving(now), tried))
    }

    fn among<'a>(
        &self,
        endpoints: impl Iterator<Item = &'a Arc<Endpoint>> + Clone,
        tried: &[InstanceId],
    ) -> Option<Option<Arc<Endpoint>>> {
        let mut fit = endpoints.filter(|e| is_fit(e, tried)).peekable();
        fit.peek()?;
        let roomy = fit.filter(|e| self.has_room(e));
        if self.limits.soft.is_none() {
            return Some(lighter_of_two(roomy));
        }
        let preferred = roomy.clone().filter(|e| self.is_preferred(e));
        Some(lighter_of_two(preferred).or_else(|| lighter_of_two(roomy)))
    }

    /// The endpoint of this deployment with this tag, if it can be used and has room.
    #[must_use]
    pub fn usable_by_tag(&self, tag: u64, tried: &[InstanceId]) -> Option<Arc<Endpoint>> {
        let mut tagged = self.endpoints.iter().filter(|e| e.tag() == tag);
        tagged
            .find(|e| is_fit(e, tried) && self.has_room(e))
            .cloned()
    }

    /// An endpoint that is ejected and that a request shall try now, which is `free` or not ([`Endpoint::take_trial`]).
    #[must_use]
    pub fn take_trial(
        &self,
        tried: &[InstanceId],
        free: bool,
        now: Instant,
    ) -> Option<Arc<Endpoint>> {
        let untried = |e: &&Arc<Endpoint>| !tried.contains(&e.spec.instance_id);
        let mut untried = self.endpoints.iter().filter(untried);
        untried
            .find(|e| self.has_room(e) && e.take_trial(&self.breaker, free, now))
            .cloned()
    }
}

fn is_fit(endpoint: &Endpoint, tried: &[InstanceId]) -> bool {
    endpoint.is_usable() && !tried.contains(&endpoint.spec.instance_id)
}

/// Two are picked at random: edges that see the same would all go to the same one otherwise, and with two the busiest ones
/// are left alone already.
fn lighter_of_two<'a>(
    fit: impl Iterator<Item = &'a Arc<Endpoint>> + Clone,
) -> Option<Arc<Endpoint>> {
    let (one, other) = two_below(fit.clone().count())?;
    fit.enumerate()
        .filter(|(place, _)| *place == one || *place == other)
        .min_by_key(|(place, endpoint)| (endpoint.in_flight(), *place != one))
        .map(|(_, endpoint)| Arc::clone(endpoint))
}

/// Two different places of so many, in random order; twice the same where there is one.
fn two_below(count: usize) -> Option<(usize, usize)> {
    match count {
        0 => None,
        1 => Some((0, 0)),
        _ => {
            let one = rand::random_range(0..count);
            Some((one, (one + rand::random_range(1..count)) % count))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::upstream::pool::tests::pool;

    /// How often each of so many idle ones is chosen; the busy ones are the last.
    fn chosen(count: u16, busy: usize) -> HashMap<u16, usize> {
        let (pool, now) = (pool(count), Instant::now());
        for endpoint in pool.endpoints().iter().rev().take(busy) {
            endpoint.begin();
        }
        let mut chosen = HashMap::new();
        for _ in 0..3_000 {
            let port = pool.choose(&[], now).unwrap().spec.address.port();
            *chosen.entry(port).or_default() += 1;
        }
        chosen
    }

    #[test]
    fn idle_ones_share_and_the_busiest_gets_nothing() {
        let shared = chosen(3, 0);
        assert!(
            shared.values().all(|count| (700..1_300).contains(count)),
            "{shared:?}"
        );
        let one_is_busy = chosen(3, 1);
        assert_eq!(one_is_busy.len(), 2, "{one_is_busy:?}");
        let two_are_busy = chosen(3, 2);
        let idle = two_are_busy[&1];
        assert!(
            (1_700..2_300).contains(&idle),
            "in two of three pairs: {two_are_busy:?}"
        );
    }

    #[test]
    fn two_places_are_different_and_all_come_up() {
        assert_eq!((two_below(0), two_below(1)), (None, Some((0, 0))));
        let mut seen = HashMap::new();
        for _ in 0..2_000 {
            let (one, other) = two_below(4).unwrap();
            assert!(one != other && one < 4 && other < 4);
            *seen.entry((one, other)).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 12);
    }

    #[test]
    fn a_tag_finds_its_endpoint_while_that_can_be_used() {
        let (pool, now) = (pool(3), Instant::now());
        let wanted = &pool.endpoints()[1];
        let found = |tried: &[InstanceId]| pool.usable_by_tag(wanted.tag(), tried);
        assert!(Arc::ptr_eq(&found(&[]).unwrap(), wanted));
        assert!(found(&[wanted.spec.instance_id]).is_none());
        wanted.eject(now);
        assert!(found(&[]).is_none());
        assert!(pool.usable_by_tag(1, &[]).is_none());
    }
}
