//! The items of a service's routes, rendered from rows for every ring of edges; and the changes that
//! lead from the items that there are to these. A tenant's change is in all rings at once, in each
//! rendered in the version that the ring is at.

use std::collections::{BTreeMap, BTreeSet};

use domain::{id::InstanceId, name::Name, ring::Ring};
use protocol::{
    feed::{
        DropCause, FeedName, SecretRef,
        digest::{self, Rendered},
    },
    item::{
        GlobalRouteItem, HostnameItem, RegionRouteItem, RoutePolicy, RulesItem, ServiceItem,
        ServicePolicy, item_timeouts,
    },
};
use serde::Serialize;

use super::platform_routes;
use crate::store::{
    Error,
    feed::Change,
    placement::{Release, Service},
    route::{Certificate, Routed},
};

/// Changes of several feeds.
pub type Changes = BTreeMap<FeedName, Vec<Change>>;

/// How a program renders the items of routes.
#[derive(Debug, Clone, Copy)]
pub struct Rendering {
    /// The newest version that it knows. To be raised with every change of what edges read: the
    /// change then goes from ring to ring (`reconcile::rollout`).
    pub version: i32,
    /// Renders in one version: this one, or an older one that a ring is still at.
    pub render: fn(i32, &RouteItem) -> Result<Rendered, digest::Error>,
}

/// How this program does it.
pub const RENDERING: Rendering = Rendering {
    version: 1,
    render: |_, item| Rendered::of(item),
};

/// An item of a ring's feeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RouteItem {
    Global(GlobalRouteItem),
    Region(RegionRouteItem),
}

/// The version that each ring is at, and what renders it. No ring changes its version before the end
/// of the transaction that this was read in.
#[derive(Debug, Clone)]
pub struct Rings {
    pub rendering: Rendering,
    pub versions: BTreeMap<Ring, i32>,
}

impl Rings {
    /// The item as edges of each ring get it, rendered once for those that are at the same version.
    ///
    /// # Errors
    /// When it can't be JSON.
    pub fn render(&self, item: &RouteItem) -> Result<Vec<(Ring, Rendered)>, Error> {
        let mut versions: BTreeMap<i32, Rendered> = BTreeMap::new();
        let mut rings = Vec::with_capacity(self.versions.len());
        for (ring, version) in &self.versions {
            let rendered = match versions.get(version) {
                Some(rendered) => rendered.clone(),
                None => self.render_in(*version, item)?,
            };
            versions.insert(*version, rendered.clone());
            rings.push((*ring, rendered));
        }
        Ok(rings)
    }

    fn render_in(&self, version: i32, item: &RouteItem) -> Result<Rendered, Error> {
        (self.rendering.render)(version, item).map_err(|error| Error::corrupt("item", error))
    }

    /// Adds puts of an item to the feeds of all rings.
    ///
    /// # Errors
    /// When it can't be JSON.
    pub fn put(
        &self,
        changes: &mut Changes,
        tier: &FeedName,
        id: &str,
        (item, secrets): (&RouteItem, &[SecretRef]),
    ) -> Result<(), Error> {
        for (ring, item) in self.render(item)? {
            let of_ring = changes.entry(tier.with_ring(ring)).or_default();
            of_ring.push(Change::Put {
                id: id.to_owned(),
                item,
                secrets: secrets.to_vec(),
            });
        }
        Ok(())
    }
}

/// What a service's routes are made of.
pub struct View<'a> {
    pub service: &'a Service,
    /// Of the routed deployment; none when nothing shall be routed.
    pub release: Option<&'a Release>,
    pub hostnames: &'a [String],
    /// Of the tenant's own among them.
    pub certificates: &'a [Certificate],
    /// Those that shall stay, and those that edges may still use.
    pub instances: &'a [Routed],
    /// The items of the service that there are now.
    pub existing: &'a [(FeedName, String)],
}

impl View<'_> {
    /// The instances that edges may use by the items that [`changes`] leads to.
    #[must_use]
    pub fn routed(&self) -> Vec<InstanceId> {
        let held = self.held();
        let routed = self.wanted().iter();
        let routed = routed.filter(|i| i.stays || held.contains(&i.region));
        routed.map(|i| i.instance).collect()
    }

    /// None when nothing shall be routed, whatever the rows still say.
    fn wanted(&self) -> &[Routed] {
        self.release.map_or(&[], |_| self.instances)
    }

    /// Regions with instances that stay.
    fn regions(&self) -> BTreeSet<&Name> {
        let staying = self.wanted().iter().filter(|i| i.stays);
        staying.map(|i| &i.region).collect()
    }

    /// Regions that the service leaves for others. Their items stay as they are until the instances there are
    /// released: an edge that learns late which regions there are still sends requests to them.
    fn held(&self) -> BTreeSet<&Name> {
        let staying = self.regions();
        let leaving = self.wanted().iter().map(|i| &i.region);
        let is_left = |region: &&Name| !staying.is_empty() && !staying.contains(region);
        leaving
            .filter(|region| is_left(region) && self.has_item_in(region))
            .collect()
    }

    fn has_item_in(&self, region: &Name) -> bool {
        let mut feeds = self.existing.iter().map(|(feed, _)| feed);
        feeds.any(|feed| is_of(feed, region))
    }
}

fn is_of(feed: &FeedName, region: &Name) -> bool {
    matches!(feed, FeedName::RegionRoutes(of, _) if of == region)
}

/// The changes that make the feeds say what the rows say. Every feed that the service has or had
/// a part in is there, even when nothing changes in it.
///
/// # Errors
/// When an item can't be JSON.
pub fn changes(view: &View<'_>, rings: &Rings) -> Result<Changes, Error> {
    let items = items(view);
    let mut changes = Changes::new();
    for ring in rings.versions.keys() {
        changes.entry(FeedName::GlobalRoutes(*ring)).or_default();
    }
    for (tier, id, item) in &items {
        rings.put(&mut changes, tier, id, (item, &[]))?;
    }
    put_certificates(view, rings, &mut changes)?;
    let held = view.held();
    for (feed, id) in view.existing {
        let of_feed = changes.entry(feed.clone()).or_default();
        let is_put = of_feed.iter().any(|change| change.id() == id);
        if !is_put && !held.iter().any(|region| is_of(feed, region)) {
            of_feed.push(delete(id.clone(), view));
        }
    }
    Ok(changes)
}

fn put_certificates(view: &View<'_>, rings: &Rings, changes: &mut Changes) -> Result<(), Error> {
    let routed = view.release.map_or(&[][..], |_| view.certificates);
    for one in routed {
        let (item, key) = platform_routes::certificate(one, Some(view.service.id));
        let (tier, id) = (
            FeedName::GlobalRoutes(Ring::All),
            format!("domain_certificate/{}", one.id),
        );
        rings.put(changes, &tier, &id, (&RouteItem::Global(item), &[key]))?;
    }
    Ok(())
}

/// The item of a service in the feeds of its regions.
#[must_use]
pub fn service_item_id(service: domain::id::ServiceId) -> String {
    format!("service/{service}")
}

fn items(view: &View<'_>) -> Vec<(FeedName, String, RouteItem)> {
    let Some(release) = view.release else {
        return Vec::new();
    };
    let mut regions = view.regions();
    let mut items = Vec::new();
    for region in &regions {
        let tier = FeedName::RegionRoutes((*region).clone(), Ring::All);
        let item = RegionRouteItem::Service(service_item(view, release, region));
        let id = service_item_id(view.service.id);
        items.push((tier, id, RouteItem::Region(item)));
    }
    regions.extend(view.held());
    for hostname in view.hostnames {
        let item = hostname_item(view, release, &regions, hostname);
        items.push((
            FeedName::GlobalRoutes(Ring::All),
            item.id(),
            RouteItem::Global(GlobalRouteItem::Hostname(item)),
        ));
    }
    items.extend(rules_item(view, release));
    items
}

/// None for a service without rules: what edges read is then what they read before there were any.
fn rules_item(view: &View<'_>, release: &Release) -> Option<(FeedName, String, RouteItem)> {
    let rules = &release.spec.edge.rules;
    if rules.is_empty() || view.hostnames.is_empty() {
        return None;
    }
    let item = RulesItem {
        service_id: view.service.id,
        rules: rules.clone(),
    };
    let tier = FeedName::GlobalRoutes(Ring::All);
    let id = item.item_id();
    let item = RouteItem::Global(GlobalRouteItem::Rules(item));
    Some((tier, id, item))
}

fn service_item(view: &View<'_>, release: &Release, region: &Name) -> ServiceItem {
    let here = view.instances.iter();
    let here = here.filter(|i| i.stays && i.region == *region);
    ServiceItem {
        service_id: view.service.id,
        deployment_id: release.deployment,
        endpoints: here.filter_map(|i| i.endpoint).collect(),
        health_path: release.spec.deploy.readiness.path.clone(),
        traceparent: release.traceparent.clone(),
        policy: ServicePolicy::of(&release.spec.network),
        splits: Vec::new(),
    }
}

fn hostname_item(
    view: &View<'_>,
    release: &Release,
    regions: &BTreeSet<&Name>,
    hostname: &str,
) -> HostnameItem {
    let network = &release.spec.network;
    let allowed =
        |region: &&Name| network.residency.is_empty() || network.residency.contains(*region);
    HostnameItem {
        hostname: hostname.to_owned(),
        service_id: view.service.id,
        regions: regions.iter().copied().filter(allowed).cloned().collect(),
        https_redirect: network.https_redirect,
        timeouts: item_timeouts(network),
        max_body: network.body_max(),
        path: None,
        policy: RoutePolicy {
            ruled: !release.spec.edge.rules.is_empty(),
            ..RoutePolicy::of(network)
        },
    }
}

fn delete(id: String, view: &View<'_>) -> Change {
    let cause = if view.service.deleted {
        DropCause::Deletion
    } else {
        DropCause::Deployment
    };
    Change::Delete { id, cause }
}

#[cfg(test)]
mod tests;
