//! The items of a service's routes, rendered from rows; and the changes that lead from the items
//! that there are to these.

use std::collections::{BTreeMap, BTreeSet};

use domain::name::Name;
use protocol::{
    feed::{DropCause, FeedName, digest::Rendered},
    item::{GlobalRouteItem, HostnameItem, RegionRouteItem, ServiceItem},
};
use serde::Serialize;

use crate::store::{
    Error,
    feed::Change,
    placement::{Release, Service},
    route::Routed,
};

/// Changes of several feeds.
pub type Changes = BTreeMap<FeedName, Vec<Change>>;

/// What a service's routes are made of.
pub struct View<'a> {
    pub service: &'a Service,
    /// Of the routed deployment; none when nothing shall be routed.
    pub release: Option<&'a Release>,
    pub hostnames: &'a [String],
    pub instances: &'a [Routed],
    /// Region feeds and hostname items that exist now.
    pub existing: &'a (Vec<FeedName>, Vec<String>),
}

/// The changes that make the feeds say what the rows say. Every feed that the service has or had
/// a part in is there, even when nothing changes in it.
pub fn changes(view: &View<'_>) -> Result<Changes, Error> {
    let mut changes = Changes::from([(FeedName::GlobalRoutes, Vec::new())]);
    let regions = regions(view);
    let (known_regions, known_hostnames) = view.existing;
    for feed in known_regions {
        changes.entry(feed.clone()).or_default();
    }
    for region in &regions {
        if let Some(item) = service_item(view, region) {
            let feed = FeedName::RegionRoutes(region.clone());
            let item = put(service_id(view.service), &item)?;
            changes.entry(feed).or_default().push(item);
        }
    }
    for (feed, changes) in &mut changes {
        let gone = match feed {
            FeedName::RegionRoutes(region) => !regions.contains(region),
            FeedName::GlobalRoutes | FeedName::Node(_) => false,
        };
        if gone {
            changes.push(delete(service_id(view.service), view));
        }
    }
    let global = changes.entry(FeedName::GlobalRoutes).or_default();
    let mut wanted = BTreeSet::new();
    for item in hostname_items(view, &regions) {
        let id = format!("hostname/{}", item.hostname);
        global.push(put(id.clone(), &GlobalRouteItem::Hostname(item))?);
        wanted.insert(id);
    }
    let stale = known_hostnames.iter().filter(|id| !wanted.contains(*id));
    global.extend(stale.map(|id| delete(id.clone(), view)));
    Ok(changes)
}

fn service_id(service: &Service) -> String {
    format!("service/{}", service.id)
}

fn regions(view: &View<'_>) -> BTreeSet<Name> {
    match view.release {
        Some(_) => view.instances.iter().map(|i| i.region.clone()).collect(),
        None => BTreeSet::new(),
    }
}

fn service_item(view: &View<'_>, region: &Name) -> Option<RegionRouteItem> {
    let release = view.release?;
    let here = view.instances.iter().filter(|i| i.region == *region);
    Some(RegionRouteItem::Service(ServiceItem {
        service_id: view.service.id,
        deployment_id: release.deployment,
        endpoints: here.filter_map(|i| i.endpoint).collect(),
        health_path: release.spec.deploy.readiness.path.clone(),
        traceparent: release.traceparent.clone(),
    }))
}

fn hostname_items(view: &View<'_>, regions: &BTreeSet<Name>) -> Vec<HostnameItem> {
    let Some(release) = view.release else {
        return Vec::new();
    };
    let network = &release.spec.network;
    let allowed =
        |region: &&Name| network.residency.is_empty() || network.residency.contains(region);
    let regions: Vec<Name> = regions.iter().filter(allowed).cloned().collect();
    view.hostnames
        .iter()
        .map(|hostname| HostnameItem {
            hostname: hostname.clone(),
            service_id: view.service.id,
            regions: regions.clone(),
            https_redirect: network.https_redirect,
            timeouts: network.timeouts,
            max_body: network.max_body,
        })
        .collect()
}

/// A put of an item that needs no secret.
pub fn put<T: Serialize>(id: String, item: &T) -> Result<Change, Error> {
    let item = Rendered::of(item).map_err(|error| Error::corrupt("item", error))?;
    Ok(Change::Put {
        id,
        item,
        secrets: Vec::new(),
    })
}

fn delete(id: String, view: &View<'_>) -> Change {
    let cause = if view.service.deleted {
        DropCause::Deletion
    } else {
        DropCause::Deployment
    };
    Change::Delete { id, cause }
}
