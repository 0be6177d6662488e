//! The endpoints of one service in this region, and the choice among them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use domain::id::{DeploymentId, InstanceId, ServiceId};
use protocol::item::{self, ServiceItem};

use super::{
    counters::{Counter, Counters},
    endpoint::{Endpoint, Failure},
};

/// How long an endpoint that left the table may still serve when no new one can.
const LEAVING_FOR: Duration = Duration::from_secs(60);
/// At most this share of a service's endpoints is ejected (BEHAVIOUR §2, breaker).
const MAX_EJECTED_PERCENT: usize = 50;

/// A service's endpoints, of one generation of the table.
#[derive(Debug)]
pub struct ServicePool {
    /// The service.
    pub service_id: ServiceId,
    /// Whose endpoints these are.
    pub deployment_id: DeploymentId,
    /// HTTP probe's path; TCP when absent.
    pub health_path: Option<String>,
    /// Requests of that deployment through this edge.
    pub counter: Arc<Counter>,
    endpoints: Vec<Arc<Endpoint>>,
    leaving: Vec<(Arc<Endpoint>, Instant)>,
    discovered: Arc<Discovered>,
}

/// Endpoints that agents named themselves while the feed's were all dead. Outlives one table.
#[derive(Debug)]
pub struct Discovered {
    /// What the agents named.
    pub endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
}

impl Default for Discovered {
    fn default() -> Self {
        Self {
            endpoints: ArcSwap::from_pointee(Vec::new()),
        }
    }
}

/// The pool for an item; endpoints that were there before keep their state, and those that are
/// gone stay in reserve until a new one can be used.
#[must_use]
pub fn carry_over(
    item: &ServiceItem,
    before: Option<&Arc<ServicePool>>,
    counters: &Counters,
    now: Instant,
) -> ServicePool {
    let mut known: HashMap<item::Endpoint, Arc<Endpoint>> = before
        .map(|pool| pool.all().into_iter().map(|e| (e.spec, e)).collect())
        .unwrap_or_default();
    let endpoints: Vec<_> = item
        .endpoints
        .iter()
        .map(|spec| {
            known
                .remove(spec)
                .unwrap_or_else(|| Arc::new(Endpoint::known_since(*spec, now)))
        })
        .collect();
    let leaving = match before {
        Some(before) if !endpoints.is_empty() => before.leaving_into(&endpoints, now),
        _ => Vec::new(),
    };
    ServicePool {
        service_id: item.service_id,
        deployment_id: item.deployment_id,
        health_path: item.health_path.clone(),
        counter: counters.of(item.deployment_id),
        endpoints,
        leaving,
        discovered: before.map_or_else(Arc::default, |b| Arc::clone(&b.discovered)),
    }
}

impl ServicePool {
    fn leaving_into(
        &self,
        staying: &[Arc<Endpoint>],
        now: Instant,
    ) -> Vec<(Arc<Endpoint>, Instant)> {
        let gone = |e: &Endpoint| staying.iter().all(|s| s.spec != e.spec);
        let first_time = self.endpoints.iter().map(|e| (e, now));
        let earlier = self.leaving.iter().map(|(e, since)| (e, *since));
        first_time
            .chain(earlier)
            .filter(|(e, since)| gone(e) && now.duration_since(*since) < LEAVING_FOR)
            .map(|(e, since)| (Arc::clone(e), since))
            .collect()
    }

    /// The endpoints of the feed.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Whether the control plane may be told that this table serves: every endpoint of the feed was
    /// judged, or had `patience` to get that far. Told so, it ends those that leave: not while only they
    /// can serve, because an agent is slow to answer for those of the feed.
    #[must_use]
    pub fn is_settled(&self, patience: Duration, now: Instant) -> bool {
        self.endpoints.iter().all(|e| e.is_judged(patience, now)) && !self.needs_leaving(now)
    }

    fn needs_leaving(&self, now: Instant) -> bool {
        let mut new = self.endpoints.iter();
        new.any(|e| e.awaits_answer())
            && !self.endpoints.iter().any(|e| e.is_usable(now))
            && self.leaving(now).any(|e| e.is_usable(now))
    }

    /// Shows those that are confirmed and probed: of the feed, and those that agents named. A leaving one
    /// is no longer asked after.
    pub fn each_watched(&self, mut look: impl FnMut(&Arc<Endpoint>)) {
        self.endpoints.iter().for_each(&mut look);
        self.discovered.endpoints.load().iter().for_each(look);
    }

    /// Those of the feed, those that are leaving, and those that agents named.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Endpoint>> {
        let discovered = self.discovered.endpoints.load();
        self.endpoints
            .iter()
            .chain(self.leaving.iter().map(|(e, _)| e))
            .chain(discovered.iter())
            .cloned()
            .collect()
    }

    /// Replaces what agents named.
    pub fn set_discovered(&self, endpoints: Vec<Arc<Endpoint>>) {
        self.discovered.endpoints.store(Arc::new(endpoints));
    }

    /// The usable endpoint with the fewest requests in flight that was not tried yet: one of the
    /// feed, else one that agents named, else one that is leaving.
    #[must_use]
    pub fn choose(&self, tried: &[InstanceId], now: Instant) -> Option<Arc<Endpoint>> {
        let fit = |e: &&Arc<Endpoint>| e.is_usable(now) && !tried.contains(&e.spec.instance_id);
        least_loaded(self.endpoints.iter().filter(fit))
            .or_else(|| least_loaded(self.discovered.endpoints.load().iter().filter(fit)))
            .or_else(|| least_loaded(self.leaving(now).filter(fit)))
    }

    fn leaving(&self, now: Instant) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.leaving
            .iter()
            .filter(move |(_, since)| now.duration_since(*since) < LEAVING_FOR)
            .map(|(endpoint, _)| endpoint)
    }

    /// Whether any endpoint can be used now.
    #[must_use]
    pub fn has_usable(&self, now: Instant) -> bool {
        self.choose(&[], now).is_some()
    }

    /// Counts a failed request on its endpoint, within the limit of ejections.
    pub fn record_failure(&self, endpoint: &Endpoint, failure: Failure, now: Instant) {
        let ejected = self.endpoints.iter().filter(|e| e.is_ejected(now)).count();
        let may_eject = (ejected + 1) * 100 <= self.endpoints.len() * MAX_EJECTED_PERCENT;
        endpoint.request_failed(failure, may_eject, now);
    }
}

fn least_loaded<'a>(endpoints: impl Iterator<Item = &'a Arc<Endpoint>>) -> Option<Arc<Endpoint>> {
    let offset = usize::from(rand::random::<u8>());
    endpoints
        .enumerate()
        .min_by_key(|(i, e)| (e.in_flight(), i.wrapping_add(offset) % 8))
        .map(|(_, e)| Arc::clone(e))
}

#[cfg(test)]
mod tests {
    use domain::id::NodeId;

    use super::*;

    fn pool(count: u16) -> ServicePool {
        let endpoints = (1..=count)
            .map(|port| item::Endpoint {
                instance_id: InstanceId::new(),
                node_id: NodeId::new(),
                address: ([127, 0, 0, 1], port).into(),
            })
            .collect();
        let item = ServiceItem {
            service_id: ServiceId::new(),
            deployment_id: DeploymentId::new(),
            endpoints,
            health_path: None,
            traceparent: None,
        };
        let pool = carry_over(&item, None, &Counters::default(), Instant::now());
        for endpoint in pool.endpoints() {
            endpoint.confirm(true);
            endpoint.probe_succeeded();
        }
        pool
    }

    #[test]
    fn the_least_loaded_untried_endpoint_is_chosen() {
        let (pool, now) = (pool(3), Instant::now());
        let [a, b, c] = pool.endpoints() else {
            panic!()
        };
        a.begin(now);
        b.begin(now);
        b.begin(now);
        let tried = |list: &[&Arc<Endpoint>]| -> Vec<InstanceId> {
            list.iter().map(|e| e.spec.instance_id).collect()
        };
        let chosen = |list: &[&Arc<Endpoint>]| pool.choose(&tried(list), now).map(|e| e.spec);
        assert_eq!(chosen(&[]), Some(c.spec));
        assert_eq!(chosen(&[c]), Some(a.spec));
        assert_eq!(chosen(&[c, a]), Some(b.spec));
        assert_eq!(chosen(&[a, b, c]), None);
    }

    #[test]
    fn at_most_half_are_ejected_and_a_single_one_never() {
        let now = Instant::now();
        for (count, expected) in [(1_u16, 0), (2, 1), (3, 1), (4, 2)] {
            let pool = pool(count);
            for endpoint in pool.endpoints() {
                for _ in 0..5 {
                    pool.record_failure(endpoint, Failure::Answer, now);
                }
            }
            let ejected = pool
                .endpoints()
                .iter()
                .filter(|e| e.is_ejected(now))
                .count();
            assert_eq!(ejected, expected, "of {count}");
        }
    }

    #[test]
    fn a_leaving_endpoint_serves_until_a_new_one_can() {
        let (before, now) = (Arc::new(pool(1)), Instant::now());
        let old = before.endpoints()[0].spec;
        let mut item = ServiceItem {
            service_id: before.service_id,
            deployment_id: DeploymentId::new(),
            endpoints: vec![item::Endpoint {
                instance_id: InstanceId::new(),
                address: ([127, 0, 0, 1], 9).into(),
                ..old
            }],
            health_path: None,
            traceparent: None,
        };
        let after = carry_over(&item, Some(&before), &Counters::default(), now);
        assert_eq!(after.choose(&[], now).map(|e| e.spec), Some(old));
        let (patience, late) = (Duration::from_secs(5), now + Duration::from_secs(6));
        assert!(!after.is_settled(patience, late), "the old one is needed");
        assert!(
            after.is_settled(patience, now + LEAVING_FOR),
            "nobody holds up others for ever"
        );
        after.endpoints()[0].confirm(true);
        assert!(!after.is_settled(patience, late), "it was not probed");
        after.endpoints()[0].probe_succeeded();
        assert!(after.is_settled(patience, late));
        assert_eq!(
            after.choose(&[], now).map(|e| e.spec),
            Some(item.endpoints[0])
        );
        let much_later = now + LEAVING_FOR;
        item.endpoints[0].address.set_port(10);
        let third = carry_over(
            &item,
            Some(&Arc::new(after)),
            &Counters::default(),
            much_later,
        );
        assert!(third.all().iter().all(|e| e.spec != old));
    }
}
