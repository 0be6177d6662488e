//! Takes orphans back (docs/ARCHITECTURE.md, invariant 23): what a restored database has forgotten and a node runs on
//! becomes an instance again, when its item is what its digest says, its service and release still
//! exist, and a replica is missing in its region. So nothing is stopped for having been taken back.
//! What has no place runs on and is listed, until an operator or the next deployment lets it go.

use std::collections::BTreeMap;

use domain::{
    id::{DeploymentId, InstanceId, NodeId, ServiceId},
    instance::Desired,
    name::Name,
    spec::Strategy,
};
use protocol::{
    feed::{DropCause, FeedName, SecretRef, digest::Rendered},
    item::{InstanceItem, Item as _, NodeItem, RunMode, Value},
    report::StoredItem,
};
use scheduler::{Amount, Node, Phase, Placement, Snapshot};

use super::{Context, Error};
use crate::{
    feed::{
        instance::item_id,
        route::{Changes, service_item_id},
        secrets::SecretKey,
    },
    store::{
        self,
        event::{self, NewEvent},
        feed::{self, Change},
        orphan::{self, Candidate},
        placement::{Release, Service},
        tx::{Access as _, SystemTx},
    },
    waker::Topic,
};

/// What an operator has let go is told so.
pub(super) async fn run(context: Context) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let mut changes = Changes::new();
    for (node, instance) in orphan::going(&mut tx).await? {
        let change = Change::LetGo {
            id: item_id(instance),
            cause: DropCause::Deletion,
        };
        changes
            .entry(FeedName::Node(node))
            .or_default()
            .push(change);
    }
    if changes.is_empty() {
        return Ok(());
    }
    feed::write(&mut tx, changes).await?;
    tx.commit().await?;
    context.state.waker.wake(Topic::Feeds);
    Ok(())
}

/// What nodes and edges went on with after a restore is not needed any more: another deployment of the
/// service serves, or nothing of it shall.
pub(crate) async fn let_go(
    tx: &mut SystemTx,
    service: ServiceId,
    cause: DropCause,
) -> Result<(), store::Error> {
    let let_go = |id: String| Change::LetGo { id, cause };
    orphan::let_go_of_service(tx, service).await?;
    let mut changes = Changes::new();
    for (node, instance) in orphan::of_service(tx, service).await? {
        let of_node = changes.entry(FeedName::Node(node)).or_default();
        of_node.push(let_go(item_id(instance)));
    }
    for feed in orphan::kept_routes(tx, service).await? {
        let of_region = changes.entry(feed).or_default();
        of_region.push(let_go(service_item_id(service)));
    }
    feed::write(tx, changes).await.map(drop)
}

/// What is decided by.
pub struct View<'a> {
    pub service: &'a Service,
    /// Those that shall run.
    pub releases: &'a [Release],
    pub replicas: &'a BTreeMap<Name, u32>,
    pub snapshot: &'a Snapshot,
    pub orphans: &'a [Candidate],
}

/// What is done about an orphan.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Adopt(Box<InstanceItem>),
    /// It runs on as it is, for this reason.
    Keep(InstanceId, String),
}

/// One action for each orphan. Those first that needn't be replaced where they are.
#[must_use]
pub fn decide<'a>(view: &View<'a>) -> Vec<(&'a Candidate, Action)> {
    let (mut fitting, mut actions) = (Vec::new(), Vec::new());
    for orphan in view.orphans {
        match fits(view, orphan) {
            Ok(item) => fitting.push((orphan, item)),
            Err(reason) => actions.push((orphan, Action::Keep(orphan.instance, reason))),
        }
    }
    if fitting.is_empty() {
        return actions;
    }
    fitting.sort_by_key(|(orphan, item)| !stays(view, item.deployment_id, orphan.node));
    let mut there = there(view);
    let places = fitting.into_iter().map(|(orphan, item)| {
        let action = take_place(view, orphan, item, &mut there);
        (orphan, action)
    });
    actions.extend(places);
    actions
}

type There = BTreeMap<(DeploymentId, String), u32>;

/// What the scheduler counts as replicas.
fn there(view: &View<'_>) -> There {
    let mut there = There::new();
    for instance in &view.snapshot.instances {
        let (deployment, node) = (instance.deployment_id, instance.node_id);
        let comes = matches!(instance.phase, Phase::Coming | Phase::Ready);
        if let Some(node) = node_of(view, node).filter(|_| comes && stays(view, deployment, node)) {
            let key = (deployment, node.region.to_string());
            *there.entry(key).or_default() += 1;
        }
    }
    there
}

/// Whether the scheduler counts an instance on this node, rather than to place another one in its stead.
fn stays(view: &View<'_>, deployment: DeploymentId, node: NodeId) -> bool {
    let mut releases = view.releases.iter();
    let release = releases.find(|release| release.deployment == deployment);
    let strategy = release.map_or(Strategy::Rolling, |release| release.spec.deploy.strategy);
    node_of(view, node).is_some_and(|node| scheduler::stays(view.snapshot, strategy, node))
}

fn node_of<'a>(view: &View<'a>, id: NodeId) -> Option<&'a Node> {
    view.snapshot.nodes.iter().find(|node| node.id == id)
}

fn take_place(
    view: &View<'_>,
    orphan: &Candidate,
    item: InstanceItem,
    there: &mut There,
) -> Action {
    let region = orphan.region.as_str();
    let mut replicas = view.replicas.iter();
    let wanted = replicas.find(|(name, _)| name.as_str() == region);
    let wanted = wanted.map_or(0, |(_, replicas)| *replicas);
    let key = (item.deployment_id, orphan.region.clone());
    let there = there.entry(key).or_default();
    if *there >= wanted {
        let reason = format!("the service has its {wanted} replicas in {region} without it");
        return Action::Keep(orphan.instance, reason);
    }
    *there += 1;
    Action::Adopt(Box::new(item))
}

fn fits(view: &View<'_>, orphan: &Candidate) -> Result<InstanceItem, String> {
    let item = read(orphan.item.as_ref())?;
    if item.id != orphan.instance || item.service_id != view.service.id {
        return Err("its stored item is another instance's".to_owned());
    }
    if item.desired == Desired::Stop || !matches!(item.run, RunMode::Service { .. }) {
        return Err("it ends by itself".to_owned());
    }
    let release = view
        .releases
        .iter()
        .find(|release| release.deployment == item.deployment_id)
        .ok_or_else(|| format!("{} is not a deployment that shall run", item.deployment_id))?;
    if release.id != item.release_id || release.image != item.image {
        return Err(format!("{} has another release by now", item.deployment_id));
    }
    if !is_given(&item, release) {
        return Err("its stored item asks for secrets that are not its release's".to_owned());
    }
    Ok(item)
}

/// Whether it asks for values of its release only: a node that makes an item up gets no other by it.
fn is_given(item: &InstanceItem, release: &Release) -> bool {
    let given = |asked: &SecretRef| {
        release.variables.iter().any(|(name, version)| {
            *asked == SecretKey::Release(release.id, name.clone()).at(*version)
        })
    };
    item.environment.values().all(|value| match value {
        Value::Literal(_) => true,
        Value::Secret(asked) => given(asked),
    })
}

/// The item, if its bytes are those that were once signed for.
fn read(stored: Option<&StoredItem>) -> Result<InstanceItem, String> {
    let stored = stored.ok_or("its node has not reported the item that it runs by")?;
    let rendered = Rendered::from_json(&stored.json).map_err(|error| error.to_string())?;
    if hex::encode(rendered.sha256()) != stored.sha256 {
        return Err("its stored item is not what its digest says".to_owned());
    }
    match serde_json::from_str(&stored.json) {
        Ok(NodeItem::Instance(item)) => Ok(*item),
        Ok(NodeItem::Build(_) | NodeItem::Denied(_)) => {
            Err("its stored item is no instance".to_owned())
        }
        Err(error) => Err(format!("its stored item can't be read: {error}")),
    }
}

/// Does it, in the transaction that holds the service; how many were taken back.
pub(super) async fn adopt(tx: &mut SystemTx, view: &View<'_>) -> Result<usize, store::Error> {
    let mut changes = Changes::new();
    let mut events = Vec::new();
    for (candidate, action) in decide(view) {
        match action {
            Action::Keep(instance, reason) => orphan::keep(tx, instance, &reason).await?,
            Action::Adopt(item) => {
                let placement = placement(&item, candidate)?;
                orphan::adopt(tx, view.service, item.id, &placement).await?;
                tracing::info!(instance = %item.id, service = %item.service_id, node = %candidate.node, "an orphan is taken back");
                events.push(NewEvent::new("instance.adopted", item.id));
                let change = put(*item, candidate)?;
                changes
                    .entry(FeedName::Node(candidate.node))
                    .or_default()
                    .push(change);
            }
        }
    }
    let adopted = events.len();
    feed::write(tx, changes).await?;
    event::append(tx.executor(), view.service.organization, &events).await?;
    Ok(adopted)
}

fn placement(item: &InstanceItem, candidate: &Candidate) -> Result<Placement, store::Error> {
    let region = candidate.region.parse();
    Ok(Placement {
        deployment_id: item.deployment_id,
        release_id: item.release_id,
        node_id: candidate.node,
        region: region.map_err(|error| store::Error::corrupt("name", error))?,
        resources: Amount {
            cpu: item.resources.cpu,
            memory: item.resources.memory,
        },
    })
}

/// The item that its node has, byte for byte.
fn put(item: InstanceItem, candidate: &Candidate) -> Result<Change, store::Error> {
    let json = candidate
        .item
        .as_ref()
        .map_or("", |stored| stored.json.as_str());
    let rendered = Rendered::from_json(json).map_err(|e| store::Error::corrupt("item", e))?;
    let id = item_id(item.id);
    let item = NodeItem::Instance(Box::new(item));
    Ok(Change::Put {
        id,
        item: rendered,
        secrets: item.secrets().into_iter().cloned().collect(),
    })
}

#[cfg(test)]
mod tests;
