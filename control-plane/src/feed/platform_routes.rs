//! The platform's own items of routes, rendered from rows: edges, agents, certificates, and the nodes that links
//! refuse. Facts are in all rings at once: without them an edge serves wrongly.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    id::{NodeId, ServiceId},
    name::Name,
    ring::Ring,
};
use protocol::{
    feed::{DropCause, FeedName, SecretRef, digest::Rendered},
    item::{
        AgentItem, CertificateItem, ChallengeItem, DeniedItem, EdgeItem, GlobalRouteItem, NodeItem,
        RegionRouteItem,
    },
};

use super::{
    route::{Changes, Rings, RouteItem},
    secrets::SecretKey,
};
use crate::store::{Error, feed::Change, route::Certificate};

/// What ids of the platform's items in `routes/global` begin with.
pub const GLOBAL: [&str; 4] = ["edge/", "certificate/", "denied/", "challenge/"];
/// Likewise in `routes/region/<region>`.
pub const REGION: [&str; 1] = ["agent/"];

/// What the platform's items are made of.
pub struct View<'a> {
    pub regions: &'a [Name],
    pub edges: &'a [EdgeItem],
    pub agents: &'a [(Name, AgentItem)],
    /// Of the platform's own names.
    pub certificates: &'a [Certificate],
    /// What certificate authorities ask for.
    pub challenges: &'a [ChallengeItem],
    /// Nodes that an operator has expelled or declared dead.
    pub denied: &'a [DeniedItem],
    /// The platform's items that routes have now.
    pub existing: &'a [(FeedName, String)],
    /// Every welcome agent, and the denied nodes that its own feed has.
    pub denied_to: &'a BTreeMap<NodeId, BTreeSet<String>>,
}

/// The changes that make the feeds say what the rows say. Every feed of routes is there, even when nothing
/// changes in it; of agents' feeds only those that lack something: agents are many.
///
/// # Errors
/// When an item can't be JSON.
pub fn changes(view: &View<'_>, rings: &Rings) -> Result<Changes, Error> {
    let mut changes = Changes::new();
    for ring in rings.versions.keys() {
        changes.entry(FeedName::GlobalRoutes(*ring)).or_default();
        for region in view.regions {
            let of_region = FeedName::RegionRoutes(region.clone(), *ring);
            changes.entry(of_region).or_default();
        }
    }
    global(view, rings, &mut changes)?;
    agents(view, rings, &mut changes)?;
    for (feed, id) in stale(view, &changes) {
        changes.entry(feed).or_default().push(delete(id));
    }
    denied_to_agents(view, &mut changes)?;
    Ok(changes)
}

fn global(view: &View<'_>, rings: &Rings, changes: &mut Changes) -> Result<(), Error> {
    let tier = FeedName::GlobalRoutes(Ring::All);
    let mut put = |id: String, item, secrets: &[SecretRef]| {
        let item = RouteItem::Global(item);
        rings.put(changes, &tier, &id, (&item, secrets))
    };
    for edge in view.edges {
        let id = format!("edge/{}", edge.node_id);
        put(id, GlobalRouteItem::Edge(edge.clone()), &[])?;
    }
    for one in view.certificates {
        let (item, key) = certificate(one, None);
        put(format!("certificate/{}", one.id), item, &[key])?;
    }
    for one in view.challenges {
        let item = GlobalRouteItem::Challenge(one.clone());
        put(format!("challenge/{}", one.hostname), item, &[])?;
    }
    for item in view.denied {
        put(denied_id(item), GlobalRouteItem::Denied(*item), &[])?;
    }
    Ok(())
}

/// A certificate as edges get it, and the key that goes with it; `service_id` of a tenant's.
pub fn certificate(
    certificate: &Certificate,
    service_id: Option<ServiceId>,
) -> (GlobalRouteItem, SecretRef) {
    let key = SecretKey::Certificate(certificate.id).at(certificate.key_version);
    let item = GlobalRouteItem::Certificate(CertificateItem {
        id: certificate.id,
        names: certificate.names.clone(),
        chain: certificate.chain_pem.clone(),
        key: key.clone(),
        service_id,
    });
    (item, key)
}

fn agents(view: &View<'_>, rings: &Rings, changes: &mut Changes) -> Result<(), Error> {
    let known = |(region, _): &&(Name, AgentItem)| view.regions.contains(region);
    for (region, agent) in view.agents.iter().filter(known) {
        let tier = FeedName::RegionRoutes(region.clone(), Ring::All);
        let id = format!("agent/{}", agent.node_id);
        let item = RouteItem::Region(RegionRouteItem::Agent(agent.clone()));
        rings.put(changes, &tier, &id, (&item, &[]))?;
    }
    Ok(())
}

/// What routes have and shall not.
fn stale(view: &View<'_>, changes: &Changes) -> Vec<(FeedName, String)> {
    let mut wanted = BTreeSet::new();
    for (feed, of_feed) in changes {
        wanted.extend(of_feed.iter().map(|change| (feed, change.id())));
    }
    let existing = view.existing.iter();
    existing
        .filter(|(feed, id)| !wanted.contains(&(feed, id.as_str())))
        .cloned()
        .collect()
}

/// Nodes refuse denied ones by themselves, because certificates don't by expiring.
fn denied_to_agents(view: &View<'_>, changes: &mut Changes) -> Result<(), Error> {
    let wanted: BTreeSet<String> = view.denied.iter().map(denied_id).collect();
    for (node, has) in view.denied_to {
        if *has == wanted {
            continue;
        }
        let puts = view.denied.iter().map(node_put);
        let of_node = changes.entry(FeedName::Node(*node)).or_default();
        of_node.extend(puts.collect::<Result<Vec<_>, _>>()?);
        of_node.extend(has.difference(&wanted).cloned().map(delete));
    }
    Ok(())
}

fn denied_id(item: &DeniedItem) -> String {
    format!("denied/{}", item.node_id)
}

fn delete(id: String) -> Change {
    Change::Delete {
        id,
        cause: DropCause::Deletion,
    }
}

fn node_put(denied: &DeniedItem) -> Result<Change, Error> {
    let item = Rendered::of(&NodeItem::Denied(*denied));
    Ok(Change::Put {
        id: denied_id(denied),
        item: item.map_err(|error| Error::corrupt("item", error))?,
        secrets: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::route::RENDERING;

    fn written(view: &View<'_>) -> BTreeMap<String, Vec<String>> {
        let rings = Rings {
            rendering: RENDERING,
            versions: [(Ring::Canary, 1), (Ring::All, 1)].into(),
        };
        let told = |change: Change| match change {
            Change::Put { id, .. } => format!("+{id}"),
            Change::Delete { id, .. } | Change::LetGo { id, .. } => format!("-{id}"),
        };
        let changes = changes(view, &rings).unwrap().into_iter();
        changes
            .map(|(feed, all)| (feed.to_string(), all.into_iter().map(told).collect()))
            .collect()
    }

    #[test]
    fn what_has_left_goes_and_every_ring_gets_what_there_is() {
        let (edge, gone, agent) = (NodeId::new(), NodeId::new(), NodeId::new());
        let region: Name = "eu-west".parse().unwrap();
        let address = ([10, 0, 0, 1], 7443).into();
        let feeds = [Ring::Canary, Ring::All].map(FeedName::GlobalRoutes);
        let written = written(&View {
            regions: std::slice::from_ref(&region),
            edges: &[EdgeItem {
                node_id: edge,
                region: region.clone(),
                forward_address: address,
            }],
            agents: &[(
                region.clone(),
                AgentItem {
                    node_id: agent,
                    address,
                },
            )],
            certificates: &[],
            challenges: &[],
            denied: &[],
            existing: &feeds.map(|feed| (feed, format!("edge/{gone}"))),
            denied_to: &BTreeMap::new(),
        });
        for ring in ["", "@canary"] {
            let global = [format!("+edge/{edge}"), format!("-edge/{gone}")];
            assert_eq!(written[&format!("routes/global{ring}")], global);
            let of_region = &written[&format!("routes/region/eu-west{ring}")];
            assert_eq!(*of_region, [format!("+agent/{agent}")]);
        }
    }

    #[test]
    fn only_agents_that_do_not_know_whom_to_refuse_are_written_to() {
        let [denied, welcome, knows, lacks] = [(); 4].map(|()| NodeId::new());
        let ids = |node| BTreeSet::from([format!("denied/{node}")]);
        let denied_to = [(knows, ids(denied)), (lacks, ids(welcome))].into();
        let written = written(&View {
            regions: &[],
            edges: &[],
            agents: &[],
            certificates: &[],
            challenges: &[],
            denied: &[DeniedItem { node_id: denied }],
            existing: &[],
            denied_to: &denied_to,
        });
        assert_eq!(written["routes/global"], [format!("+denied/{denied}")]);
        assert!(!written.contains_key(&format!("node/{knows}")));
        let told = [format!("+denied/{denied}"), format!("-denied/{welcome}")];
        assert_eq!(written[&format!("node/{lacks}")], told);
    }
}
