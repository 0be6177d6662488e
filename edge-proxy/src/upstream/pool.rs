//! The endpoints of one service in this region, and the choice among them.

mod kept;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use domain::id::{DeploymentId, InstanceId, NodeId, ServiceId};
use protocol::item::{self, ServiceItem};

use super::{
    counters::{Counter, Counters},
    endpoint::{Endpoint, Failure},
};

pub use kept::Kept;

/// How long an endpoint that left the table may still serve when no new one can.
const LEAVING_FOR: Duration = Duration::from_secs(60);
/// At most this share of a service's endpoints is ejected.
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
    /// What agents named themselves while the feed's were all dead.
    discovered: ArcSwapOption<Vec<Arc<Endpoint>>>,
}

/// The pool for an item; endpoints that were there before keep their state, and those that are
/// gone stay in reserve until a new one can be used. One address of one instance is one endpoint, whoever names it:
/// what one knows of it, all know.
#[must_use]
pub fn carry_over(
    item: &ServiceItem,
    before: Option<&Arc<ServicePool>>,
    counters: &Counters,
    now: Instant,
) -> ServicePool {
    let mut known: HashMap<item::Endpoint, Arc<Endpoint>> = before
        .map(|pool| pool.all(now).into_iter().map(|e| (e.spec, e)).collect())
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
        discovered: ArcSwapOption::new(before.and_then(|before| before.discovered.load_full())),
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

    /// Shows those that are confirmed and probed: of the feed, those that agents named, and of those that are leaving
    /// the ones of which it is not known whether they may be used. The others of these are let go in peace.
    pub fn each_watched(&self, mut look: impl FnMut(&Arc<Endpoint>)) {
        let unjudged =
            |e: &&Arc<Endpoint>| e.is_probed() && (e.wants_confirmation() || e.awaits_probe());
        let leaving = self.leaving.iter().map(|(endpoint, _)| endpoint);
        self.endpoints.iter().for_each(&mut look);
        leaving.filter(unjudged).for_each(&mut look);
        self.discovered().iter().for_each(look);
    }

    /// Those of the feed, those that are leaving, and those that agents named.
    #[must_use]
    pub fn all(&self, now: Instant) -> Vec<Arc<Endpoint>> {
        let given = self.endpoints.iter().chain(self.leaving(now));
        given.cloned().chain(self.discovered()).collect()
    }

    fn discovered(&self) -> Vec<Arc<Endpoint>> {
        let discovered = self.discovered.load();
        discovered
            .as_ref()
            .map_or_else(Vec::new, |all| all.to_vec())
    }

    /// Replaces what agents named, but for nodes whose agents were silent. Returns how many the feed does not have.
    pub fn set_discovered(
        &self,
        named: HashSet<item::Endpoint>,
        silent: &[NodeId],
        now: Instant,
    ) -> usize {
        let (known, before) = (self.all(now), self.discovered());
        let is_routed = |spec: &item::Endpoint| self.endpoints.iter().any(|e| e.spec == *spec);
        let named = named.into_iter().filter(|spec| !is_routed(spec));
        let named = named.map(|spec| {
            let same = known.iter().find(|e| e.spec == spec);
            same.map_or_else(|| Arc::new(named_now(spec, now)), Arc::clone)
        });
        let kept = before
            .into_iter()
            .filter(|e| silent.contains(&e.spec.node_id) && !is_routed(&e.spec));
        let all: Vec<_> = named.chain(kept).collect();
        let count = all.len();
        self.discovered.store((count > 0).then(|| Arc::new(all)));
        count
    }

    /// The usable endpoint with the fewest requests in flight that was not tried yet: one of the
    /// feed, else one that agents named, else one that is leaving.
    #[must_use]
    pub fn choose(&self, tried: &[InstanceId], now: Instant) -> Option<Arc<Endpoint>> {
        let fit = |e: &&Arc<Endpoint>| e.is_usable(now) && !tried.contains(&e.spec.instance_id);
        least_loaded(self.endpoints.iter().filter(fit))
            .or_else(|| least_loaded(self.discovered().iter().filter(fit)))
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

/// To name it is to confirm it.
fn named_now(spec: item::Endpoint, now: Instant) -> Endpoint {
    let endpoint = Endpoint::known_since(spec, now);
    endpoint.confirm(true);
    endpoint
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
    use super::*;
    use crate::upstream::endpoint::Confirmed;

    fn pool(count: u16) -> ServicePool {
        let endpoints = (1..=count).map(at).collect();
        let item = ServiceItem {
            service_id: ServiceId::new(),
            deployment_id: DeploymentId::new(),
            endpoints,
            health_path: None,
            traceparent: None,
        };
        let pool = carry_over(&item, None, &Counters::default(), Instant::now());
        for endpoint in pool.endpoints() {
            comes_up(endpoint);
        }
        pool
    }

    fn comes_up(endpoint: &Endpoint) {
        endpoint.confirm(true);
        endpoint.probe_succeeded(endpoint.verdict());
    }

    fn watched(pool: &ServicePool) -> Vec<item::Endpoint> {
        let mut watched = Vec::new();
        pool.each_watched(|endpoint| watched.push(endpoint.spec));
        watched
    }

    /// As `before`, with this one in the place of all.
    fn changed_to(
        endpoint: item::Endpoint,
        before: &Arc<ServicePool>,
        now: Instant,
    ) -> ServicePool {
        let item = ServiceItem {
            service_id: before.service_id,
            deployment_id: DeploymentId::new(),
            endpoints: vec![endpoint],
            health_path: None,
            traceparent: None,
        };
        carry_over(&item, Some(before), &Counters::default(), now)
    }

    fn at(port: u16) -> item::Endpoint {
        item::Endpoint {
            instance_id: InstanceId::new(),
            node_id: NodeId::new(),
            address: ([127, 0, 0, 1], port).into(),
        }
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
        let (old, new) = (before.endpoints()[0].spec, at(9));
        let after = Arc::new(changed_to(new, &before, now));
        let chosen = || after.choose(&[], now).map(|e| e.spec);
        assert_eq!(chosen(), Some(old));
        let (patience, late) = (Duration::from_secs(5), now + Duration::from_secs(6));
        assert!(!after.is_settled(patience, late), "the old one is needed");
        assert!(
            after.is_settled(patience, now + LEAVING_FOR),
            "nobody holds up others for ever"
        );
        after.endpoints()[0].confirm(true);
        assert!(!after.is_settled(patience, late), "it was not probed");
        comes_up(&after.endpoints()[0]);
        assert!(after.is_settled(patience, late));
        assert_eq!(chosen(), Some(new));
    }

    #[test]
    fn what_has_left_for_good_is_no_last_resort_and_its_state_is_forgotten() {
        let (before, now) = (Arc::new(pool(1)), Instant::now());
        let old = before.endpoints()[0].spec;
        let after = Arc::new(changed_to(at(9), &before, now));
        let has_old = |pool: &ServicePool, now| pool.all(now).iter().any(|e| e.spec == old);
        assert!(has_old(&after, now) && !has_old(&after, now + LEAVING_FOR));
        let back = changed_to(old, &after, now + LEAVING_FOR);
        assert!(!back.has_usable(now), "it must be confirmed anew");
        let back = changed_to(old, &after, now);
        assert!(back.has_usable(now), "it was seldom away");
    }

    #[test]
    fn a_leaving_endpoint_is_watched_only_while_it_is_not_known_whether_it_may_be_used() {
        let (before, now) = (Arc::new(pool(1)), Instant::now());
        let (old, new) = (Arc::clone(&before.endpoints()[0]), at(9));
        let after = changed_to(new, &before, now);
        assert_eq!(watched(&after), [new]);

        old.request_failed(Failure::Connect, false, now);
        assert_eq!(watched(&after), [new, old.spec]);
        assert!(!after.has_usable(now));
        comes_up(&old);
        assert!(!after.has_usable(now), "it must be said again");
        old.confirm(true);
        assert!(after.has_usable(now));
        assert_eq!(watched(&after), [new]);

        old.request_failed(Failure::Connect, false, now);
        old.confirm(false);
        assert_eq!(watched(&after), [new], "it is gone");
    }

    #[test]
    fn a_refusal_is_not_forgotten_when_agents_or_the_feed_name_the_same_one_again() {
        let (before, now) = (Arc::new(pool(1)), Instant::now());
        let (named, routed) = (at(7), before.endpoints()[0].spec);
        let found = before.set_discovered(HashSet::from([named, routed]), &[], now);
        assert_eq!(found, 1, "what is routed is not named again");
        let discovered = before.all(now).pop().unwrap();
        comes_up(&discovered);
        discovered.request_failed(Failure::Connect, false, now);
        before.set_discovered(HashSet::from([named]), &[], now);
        let routed = Arc::new(changed_to(named, &before, now));
        let has_left = changed_to(at(8), &routed, now);
        for pool in [&*before, &*routed, &has_left] {
            let all = pool.all(now);
            let mut same = all.iter().filter(|e| e.spec == named);
            assert!(same.all(|e| Arc::ptr_eq(e, &discovered)));
            assert!(all.iter().any(|e| e.spec == named));
        }
        assert_eq!(discovered.confirmed(), Confirmed::Doubted);
    }

    #[test]
    fn what_an_agent_named_stands_while_it_is_silent() {
        let (pool, now) = (pool(0), Instant::now());
        let (stays, gone) = (at(7), at(8));
        pool.set_discovered(HashSet::from([stays, gone]), &[], now);
        assert_eq!(
            pool.set_discovered(HashSet::new(), &[stays.node_id], now),
            1
        );
        assert_eq!(watched(&pool), [stays]);
    }
}
