//! The compiled routes: host name → service → endpoints, other regions' edges, agents. Built off
//! the request path from the items of both feeds and swapped in as a whole.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Instant};

use domain::id::{NodeId, ServiceId};
use protocol::item::{EdgeItem, GlobalRouteItem, HostnameItem, RegionRouteItem, ServiceItem};

use super::{
    Route,
    challenge::Challenges,
    hostname::{self, Pattern},
    paths::Paths,
};
use crate::{
    rule::ServiceRules,
    upstream::{
        counters::Counters,
        endpoint::Endpoint,
        pool::{ServicePool, carry_over},
    },
};

/// Everything a request needs to find its instance. Immutable; endpoints carry their own state.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<String, Paths>,
    wildcard: HashMap<String, Paths>,
    services: HashMap<ServiceId, Arc<ServicePool>>,
    rules: HashMap<ServiceId, Arc<ServiceRules>>,
    edges: Vec<EdgeItem>,
    agents: HashMap<NodeId, SocketAddr>,
    challenges: Challenges,
}

impl RouteTable {
    /// Compiles items; endpoints that were in `previous` keep their state.
    #[must_use]
    pub fn build(
        global: &[&GlobalRouteItem],
        region: &[&RegionRouteItem],
        previous: &Self,
        counters: &Counters,
    ) -> Self {
        Self::build_at(global, region, previous, counters, Instant::now())
    }

    /// Likewise, with the time that new and leaving endpoints are counted from.
    #[must_use]
    pub fn build_at(
        global: &[&GlobalRouteItem],
        region: &[&RegionRouteItem],
        previous: &Self,
        counters: &Counters,
        now: Instant,
    ) -> Self {
        let mut table = Self {
            exact: HashMap::with_capacity(global.len()),
            services: HashMap::with_capacity(region.len()),
            ..Self::default()
        };
        for item in global {
            match item {
                GlobalRouteItem::Hostname(item) => table.add_hostname(item),
                GlobalRouteItem::Edge(edge) => table.edges.push(edge.clone()),
                GlobalRouteItem::Challenge(challenge) => table.challenges.add(challenge),
                // Compiled elsewhere.
                GlobalRouteItem::Rules(_) | GlobalRouteItem::Certificate(_) => {}
                GlobalRouteItem::Denied(_) => {}
            }
        }
        for item in region {
            match item {
                RegionRouteItem::Service(item) => table.add_service(item, previous, counters, now),
                RegionRouteItem::Agent(agent) => {
                    table.agents.insert(agent.node_id, agent.address);
                }
            }
        }
        table
    }

    /// The table with the rules of services.
    #[must_use]
    pub fn with_rules(mut self, rules: HashMap<ServiceId, Arc<ServiceRules>>) -> Self {
        self.rules = rules;
        self
    }

    /// What an edge had that ended: the table that its first own one follows.
    #[must_use]
    pub fn recalled(pools: impl IntoIterator<Item = ServicePool>) -> Self {
        let pools = pools.into_iter();
        Self {
            services: pools.map(|p| (p.service_id, Arc::new(p))).collect(),
            ..Self::default()
        }
    }

    fn add_hostname(&mut self, item: &HostnameItem) {
        let paths = match hostname::pattern(&item.hostname) {
            Some(Pattern::Exact(host)) => self.exact.entry(host),
            Some(Pattern::Wildcard(parent)) => self.wildcard.entry(parent),
            None => return,
        };
        paths.or_default().insert(Route::of(item));
    }

    fn add_service(
        &mut self,
        item: &ServiceItem,
        previous: &Self,
        counters: &Counters,
        now: Instant,
    ) {
        let before = previous.services.get(&item.service_id);
        self.services.insert(
            item.service_id,
            Arc::new(carry_over(item, before, counters, now)),
        );
    }

    /// The route of a path (without its query) at a normalized host: exact first, then wildcard.
    #[must_use]
    pub fn route(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let mut of_host = self.of_host(host);
        of_host.find_map(|paths| paths.find(path))
    }

    /// Whether any path is routed at a normalized host.
    #[must_use]
    pub fn has_host(&self, host: &str) -> bool {
        self.of_host(host).next().is_some()
    }

    fn of_host(&self, host: &str) -> impl Iterator<Item = &Paths> {
        let wildcard = move || self.wildcard.get(hostname::parent_of(host)?);
        let wildcard = std::iter::once_with(wildcard).flatten();
        self.exact.get(host).into_iter().chain(wildcard)
    }

    /// The instances of a service in this region.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&Arc<ServicePool>> {
        self.services.get(&id)
    }

    /// The rules of a service; most have none.
    #[must_use]
    pub fn rules(&self, service: ServiceId) -> Option<&Arc<ServiceRules>> {
        if self.rules.is_empty() {
            return None;
        }
        self.rules.get(&service)
    }

    /// All services of this region.
    pub fn services(&self) -> impl Iterator<Item = &Arc<ServicePool>> {
        self.services.values()
    }

    /// Of the endpoints that are confirmed and probed, those that `wanted` picks. It is asked some thousand
    /// times a second where there are many, so nothing is copied for those that it does not pick.
    #[must_use]
    pub fn watched(
        &self,
        mut wanted: impl FnMut(&Endpoint) -> bool,
    ) -> Vec<(Arc<ServicePool>, Arc<Endpoint>)> {
        let mut picked = Vec::new();
        for part in self.services.values().flat_map(ServicePool::parts) {
            part.each_watched(|endpoint| {
                if wanted(endpoint) {
                    picked.push((Arc::clone(part), Arc::clone(endpoint)));
                }
            });
        }
        picked
    }

    /// How many endpoints the feed has.
    #[must_use]
    pub fn endpoints(&self) -> usize {
        let parts = self.services.values().flat_map(ServicePool::parts);
        parts.map(|part| part.endpoints().len()).sum()
    }

    /// What certificate authorities ask for.
    #[must_use]
    pub const fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// The platform's edges.
    #[must_use]
    pub fn edges(&self) -> &[EdgeItem] {
        &self.edges
    }

    /// Where the agent of a node of this region answers.
    #[must_use]
    pub fn agent(&self, node: NodeId) -> Option<SocketAddr> {
        self.agents.get(&node).copied()
    }

    /// The agents of this region.
    pub fn agents(&self) -> impl Iterator<Item = (NodeId, SocketAddr)> {
        self.agents.iter().map(|(node, address)| (*node, *address))
    }

    /// How many host names, and parts of them, are routed.
    #[must_use]
    pub fn hostnames(&self) -> usize {
        let all = self.exact.values().chain(self.wildcard.values());
        all.map(Paths::count).sum()
    }
}

#[cfg(test)]
mod tests {
    use domain::id::{DeploymentId, InstanceId};
    use protocol::item::{self, ServicePolicy};

    use super::*;

    fn service(id: ServiceId, endpoints: Vec<item::Endpoint>) -> RegionRouteItem {
        RegionRouteItem::Service(ServiceItem {
            service_id: id,
            deployment_id: DeploymentId::new(),
            endpoints,
            health_path: None,
            traceparent: None,
            policy: ServicePolicy::default(),
            splits: Vec::new(),
        })
    }

    fn endpoint(port: u16) -> item::Endpoint {
        item::Endpoint {
            instance_id: InstanceId::new(),
            node_id: NodeId::new(),
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    #[test]
    fn an_endpoint_that_stays_keeps_its_state_and_a_replaced_one_is_leaving() {
        let id = ServiceId::new();
        let (old, kept, new) = (endpoint(1), endpoint(2), endpoint(3));
        let first = RouteTable::build(
            &[],
            &[&service(id, vec![old, kept])],
            &RouteTable::default(),
            &Counters::default(),
        );
        let now = Instant::now();
        for endpoint in first.service(id).unwrap().all(now) {
            endpoint.confirm(true);
            endpoint.probe_succeeded(endpoint.verdict());
        }
        let second = RouteTable::build(
            &[],
            &[&service(id, vec![kept, new])],
            &first,
            &Counters::default(),
        );
        let pool = second.service(id).unwrap();
        let state: Vec<_> = pool
            .all(now)
            .iter()
            .map(|e| (e.spec.address.port(), e.is_usable()))
            .collect();
        assert_eq!(state, [(2, true), (3, false), (1, true)]);
    }

    #[test]
    fn a_service_without_endpoints_keeps_none_in_reserve() {
        let id = ServiceId::new();
        let first = RouteTable::build(
            &[],
            &[&service(id, vec![endpoint(1)])],
            &RouteTable::default(),
            &Counters::default(),
        );
        let second = RouteTable::build(&[], &[&service(id, vec![])], &first, &Counters::default());
        let pool = second.service(id).unwrap();
        assert!(pool.all(Instant::now()).is_empty());
    }
}
