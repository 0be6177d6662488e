//! What an edge that is killed must find again: the endpoints of a service that it could use a moment before, also those
//! that the feed no longer has, or never had.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use domain::{
    id::{DeploymentId, ServiceId},
    spec::{Breaker, Limits},
};
use protocol::item;
use serde::{Deserialize, Serialize};

use super::{LEAVING_FOR, ServicePool};
use crate::upstream::endpoint::{Confirmed, Endpoint};

/// Those endpoints of a service that their agents have confirmed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    service_id: ServiceId,
    deployment_id: DeploymentId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<item::Endpoint>,
    /// With the seconds since each has left the feed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    leaving: Vec<(item::Endpoint, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    discovered: Vec<item::Endpoint>,
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.leaving.is_empty() && self.discovered.is_empty()
    }
}

impl ServicePool {
    /// None when nothing is confirmed.
    #[must_use]
    pub fn kept(&self, now: Instant) -> Option<Kept> {
        let left = |since: Instant| now.duration_since(since).as_secs();
        let leaving = self.leaving.iter().filter(|(e, _)| is_confirmed(e));
        let leaving = leaving.map(|(e, since)| (e.spec, left(*since)));
        let kept = Kept {
            service_id: self.service_id,
            deployment_id: self.deployment_id,
            endpoints: confirmed(self.routed()),
            leaving: leaving
                .filter(|(_, left)| *left < LEAVING_FOR.as_secs())
                .collect(),
            discovered: confirmed(self.discovered().iter()),
        };
        (!kept.is_empty()).then_some(kept)
    }

    /// As it was kept so long ago. All must be probed anew, and their agents are asked.
    #[must_use]
    pub fn recalled(kept: Kept, ago: Duration, now: Instant) -> Self {
        let mut known = HashMap::new();
        let mut endpoint = |spec: item::Endpoint| {
            Arc::clone(known.entry(spec).or_insert_with(|| recalled(spec, now)))
        };
        let endpoints = kept.endpoints.into_iter().map(&mut endpoint).collect();
        let leaving = kept.leaving.into_iter().filter_map(|(spec, left)| {
            let since = now.checked_sub(Duration::from_secs(left).saturating_add(ago))?;
            Some((endpoint(spec), since))
        });
        let leaving = leaving.collect();
        let discovered: Vec<_> = kept.discovered.into_iter().map(endpoint).collect();
        let discovered = (!discovered.is_empty()).then(|| Arc::new(discovered));
        Self {
            service_id: kept.service_id,
            deployment_id: kept.deployment_id,
            health_path: None,
            counter: Arc::default(),
            shared: Arc::default(),
            breaker: Breaker::default(),
            limits: Limits::default(),
            endpoints,
            leaving,
            discovered: ArcSwapOption::new(discovered),
            splits: Vec::new(),
        }
    }
}

fn is_confirmed(endpoint: &Endpoint) -> bool {
    endpoint.confirmed() == Confirmed::Yes
}

fn confirmed<'a>(all: impl Iterator<Item = &'a Arc<Endpoint>>) -> Vec<item::Endpoint> {
    let confirmed = all.filter(|endpoint| is_confirmed(endpoint));
    confirmed.map(|endpoint| endpoint.spec).collect()
}

fn recalled(spec: item::Endpoint, now: Instant) -> Arc<Endpoint> {
    let endpoint = Endpoint::known_since(spec, now);
    endpoint.remember();
    Arc::new(endpoint)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use domain::id::{InstanceId, NodeId};
    use protocol::item::{ServiceItem, ServicePolicy};

    use super::*;
    use crate::upstream::{counters::Counters, endpoint::Failure, pool::carry_over};

    fn item(endpoints: Vec<item::Endpoint>) -> ServiceItem {
        ServiceItem {
            service_id: ServiceId::new(),
            deployment_id: DeploymentId::new(),
            endpoints,
            health_path: None,
            traceparent: None,
            policy: ServicePolicy::default(),
            splits: Vec::new(),
        }
    }

    fn at(port: u16) -> item::Endpoint {
        item::Endpoint {
            instance_id: InstanceId::new(),
            node_id: NodeId::new(),
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    fn specs(pool: &ServicePool, now: Instant) -> HashSet<item::Endpoint> {
        pool.all(now).iter().map(|e| e.spec).collect()
    }

    /// Two stay, of which one is refused, one leaves, one came, and agents have named one.
    fn changed(now: Instant) -> (ServiceItem, ServicePool) {
        let mut item = item(vec![at(1), at(2), at(3)]);
        let before = carry_over(&item, None, &Counters::default(), now);
        for endpoint in before.endpoints() {
            endpoint.confirm(true);
        }
        before.set_discovered(HashSet::from([at(4)]), &[], now);
        item.endpoints[2] = at(5);
        let after = carry_over(&item, Some(&Arc::new(before)), &Counters::default(), now);
        after.endpoints()[1].request_failed(Failure::Connect, &Breaker::default(), false, now);
        (item, after)
    }

    #[test]
    fn who_starts_again_knows_what_could_be_used_and_of_it_what_the_feed_lacks() {
        let now = Instant::now();
        let (item, pool) = changed(now);
        let kept = serde_json::to_vec(&pool.kept(now).unwrap()).unwrap();
        let recall = |ago, now| {
            let kept = serde_json::from_slice(&kept).unwrap();
            let recalled = Arc::new(ServicePool::recalled(kept, ago, now));
            carry_over(&item, Some(&recalled), &Counters::default(), now)
        };
        let again = recall(Duration::from_secs(1), now);
        assert_eq!(specs(&again, now), specs(&pool, now));
        let remembered: Vec<u16> = again
            .all(now)
            .iter()
            .filter(|e| is_confirmed(e))
            .map(|e| e.spec.address.port())
            .collect();
        assert_eq!(remembered, [1, 3, 4], "not who was refused, nor who is new");
        assert!(again.all(now).iter().all(|e| e.wants_confirmation()));
        assert!(!again.has_usable(now), "nobody was probed");

        let late = recall(LEAVING_FOR, now);
        let has_left = |pool: &ServicePool| specs(pool, now).iter().all(|e| e.address.port() != 3);
        assert!(has_left(&late) && !has_left(&again));
    }

    #[test]
    fn what_the_feed_has_dropped_meanwhile_is_leaving() {
        let now = Instant::now();
        let (mut item, pool) = changed(now);
        item.endpoints.remove(0);
        let kept = pool.kept(now).unwrap();
        let recalled = Arc::new(ServicePool::recalled(kept, Duration::ZERO, now));
        let again = carry_over(&item, Some(&recalled), &Counters::default(), now);
        let first = again.leaving(now).find(|e| e.spec.address.port() == 1);
        assert!(first.is_some_and(|e| e.awaits_probe()));
        let mut watched = Vec::new();
        again.each_watched(|e| watched.push(e.spec.address.port()));
        watched.sort_unstable();
        assert_eq!(watched, [1, 2, 3, 4, 5]);
        item.endpoints.clear();
        let elsewhere = carry_over(&item, Some(&recalled), &Counters::default(), now);
        assert_eq!(elsewhere.leaving(now).count(), 0, "others regions serve");
    }

    #[test]
    fn nothing_is_kept_of_what_nobody_has_confirmed() {
        let pool = carry_over(
            &item(vec![at(1)]),
            None,
            &Counters::default(),
            Instant::now(),
        );
        assert!(pool.kept(Instant::now()).is_none());
    }
}
