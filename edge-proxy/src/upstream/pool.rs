//! The endpoints of one service in this region: those of the feed, those that leave it, and those that agents named.

mod choose;
mod kept;
mod room;
mod shared;
mod split;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use domain::{
    id::{DeploymentId, NodeId, ServiceId},
    spec::{Breaker, Limits},
};
use http::HeaderMap;
use protocol::item::{self, ServiceItem};

use super::{
    counters::{Counter, Counters},
    endpoint::{Endpoint, Failure},
};

pub use kept::Kept;
pub use room::{Running, Waiting};
pub use shared::Shared;
pub use split::Split;

/// How long an endpoint that left the table may still serve when no new one can.
const LEAVING_FOR: Duration = Duration::from_secs(60);

/// A service's endpoints, of one generation of the table.
#[derive(Debug)]
pub struct ServicePool {
    /// The service.
    pub service_id: ServiceId,
    /// Whose endpoints these are.
    pub deployment_id: DeploymentId,
    /// HTTP probe's path of the feed's endpoints; TCP when absent.
    pub health_path: Option<String>,
    /// Requests of that deployment through this edge.
    pub counter: Arc<Counter>,
    /// What is known whichever endpoints there are.
    pub shared: Arc<Shared>,
    /// When endpoints are ejected.
    pub breaker: Breaker,
    /// How much they get at a time.
    pub limits: Limits,
    endpoints: Vec<Arc<Endpoint>>,
    leaving: Vec<(Arc<Endpoint>, Instant)>,
    /// What agents named themselves while the feed's were all dead.
    discovered: ArcSwapOption<Vec<Arc<Endpoint>>>,
    /// Deployments beside this one; none at one of them.
    splits: Vec<Split>,
}

/// The endpoints that there were, as far as nobody has taken them over yet.
type Known = HashMap<item::Endpoint, Arc<Endpoint>>;

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
    let before_now = before.map(|pool| pool.of_all_parts(now));
    let mut known: Known = before_now
        .map(|all| all.into_iter().map(|e| (e.spec, e)).collect())
        .unwrap_or_default();
    let endpoints = endpoints_of(&item.endpoints, &mut known, now);
    let mut pool = ServicePool {
        service_id: item.service_id,
        deployment_id: item.deployment_id,
        health_path: item.health_path.clone(),
        counter: counters.of(item.deployment_id),
        breaker: item.policy.breaker.unwrap_or_default(),
        limits: item.policy.limits.unwrap_or_default(),
        shared: before.map_or_else(Arc::default, |before| Arc::clone(&before.shared)),
        endpoints,
        leaving: Vec::new(),
        discovered: ArcSwapOption::new(before.and_then(|before| before.discovered.load_full())),
        splits: Vec::new(),
    };
    let splits = item.splits.iter();
    pool.splits = splits
        .map(|split| Split::of(split, item, &pool, &mut known, counters, now))
        .collect();
    if let Some(before) = before
        && !pool.endpoints.is_empty()
    {
        pool.leaving = before.leaving_into(&known, now);
    }
    pool.keep_share_of_ejected();
    pool
}

fn endpoints_of(specs: &[item::Endpoint], known: &mut Known, now: Instant) -> Vec<Arc<Endpoint>> {
    let new = |spec| Arc::new(Endpoint::known_since(spec, now));
    let specs = specs.iter();
    specs
        .map(|spec| known.remove(spec).unwrap_or_else(|| new(*spec)))
        .collect()
}

impl ServicePool {
    /// `gone` has what of [`Self::all`] does not stay.
    fn leaving_into(&self, gone: &Known, now: Instant) -> Vec<(Arc<Endpoint>, Instant)> {
        let gone = |e: &Endpoint| gone.contains_key(&e.spec);
        let first_time = self.routed().map(|e| (e, now));
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

    /// Those of the feed, of this deployment and of those beside it.
    pub fn routed(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let beside = self.splits.iter().flat_map(|split| &split.pool.endpoints);
        self.endpoints.iter().chain(beside)
    }

    /// This deployment, and those beside it.
    pub fn parts(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        let beside = self.splits.iter().map(|split| &split.pool);
        std::iter::once(self).chain(beside)
    }

    /// The deployment that a request is for; `draw` is from 0 to 99 and one for all attempts.
    #[must_use]
    pub fn part<'a>(self: &'a Arc<Self>, headers: &HeaderMap, draw: u8) -> &'a Arc<Self> {
        split::choose(&self.splits, headers, draw).map_or(self, |split| &split.pool)
    }

    /// Where a probe asks for an endpoint's health. Those of another version may have another path, or none: it counts
    /// that they take connections.
    #[must_use]
    pub fn health_path_of(&self, spec: &item::Endpoint) -> Option<&str> {
        let is_routed = self.endpoints.iter().any(|e| e.spec == *spec);
        self.health_path.as_deref().filter(|_| is_routed)
    }

    /// Whether the control plane may be told that this table serves: every endpoint of the feed was
    /// judged, or had `patience` to get that far. Told so, it ends those that leave: not while only they
    /// can serve, because an agent is slow to answer for those of the feed.
    #[must_use]
    pub fn is_settled(&self, patience: Duration, now: Instant) -> bool {
        self.routed().all(|e| e.is_judged(patience, now)) && !self.needs_leaving(now)
    }

    fn needs_leaving(&self, now: Instant) -> bool {
        let mut new = self.endpoints.iter();
        new.any(|e| e.awaits_answer())
            && !self.endpoints.iter().any(|e| e.is_usable())
            && self.leaving(now).any(|e| e.is_usable())
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

    fn of_all_parts(&self, now: Instant) -> Vec<Arc<Endpoint>> {
        let beside = self.splits.iter().flat_map(|split| &split.pool.endpoints);
        self.all(now).into_iter().chain(beside.cloned()).collect()
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
        let (known, before) = (self.of_all_parts(now), self.discovered());
        let is_routed = |spec: &item::Endpoint| self.routed().any(|e| e.spec == *spec);
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

    fn leaving(&self, now: Instant) -> impl Iterator<Item = &Arc<Endpoint>> + Clone {
        self.leaving
            .iter()
            .filter(move |(_, since)| now.duration_since(*since) < LEAVING_FOR)
            .map(|(endpoint, _)| endpoint)
    }

    /// Counts a failed request on its endpoint, which is ejected when it has failed too often and others are left.
    pub fn record_failure(
        &self,
        endpoint: &Endpoint,
        failure: Failure,
        is_trial: bool,
        now: Instant,
    ) {
        if !endpoint.request_failed(failure, &self.breaker, is_trial, now) {
            return;
        }
        let _alone = self.shared.ejects_alone();
        if self.may_be_ejected(self.ejected().count() + 1) {
            endpoint.eject(now);
        }
    }

    fn ejected(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter().filter(|e| e.is_ejected())
    }

    fn may_be_ejected(&self, count: usize) -> bool {
        count * 100 <= self.endpoints.len() * self.breaker.max_ejected_percent as usize
    }

    /// Of those that are ejected, takes back as many as there may not be: there are fewer endpoints, or a smaller share may
    /// be, than when they were.
    fn keep_share_of_ejected(&self) {
        let mut count = self.ejected().count();
        for endpoint in self.ejected() {
            if self.may_be_ejected(count) {
                break;
            }
            endpoint.readmit();
            count -= 1;
        }
    }
}

/// To name it is to confirm it.
fn named_now(spec: item::Endpoint, now: Instant) -> Endpoint {
    let endpoint = Endpoint::known_since(spec, now);
    endpoint.confirm(true);
    endpoint
}

#[cfg(test)]
mod tests;
