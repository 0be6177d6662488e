//! What must hold whatever happens. A checker is told facts as they happen and says which promise was
//! broken; it decides nothing and changes nothing.

mod rollout;

mod builds;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use domain::{
    deployment::machine::Step,
    generation::{Epoch, Position},
    id::{DeploymentId, InstanceId, NodeId, ServiceId},
    name::Name,
};
use protocol::feed::{Commit, FeedName};
use scheduler::{Amount, Placement, Plan, StopCause};

use crate::{clock::Millis, table::Tables};

/// As much of a region may be lost and replaced, in percent of its nodes; or one of them.
const LOST_MAX: usize = 30;

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// No node is promised more than it has, and what is given back is given back once.
    Capacity,
    /// No edge routes to an instance that the plan has stopped.
    Route,
    /// No request reaches another service's container.
    Foreign,
    /// Nothing is stopped without a cause that was written.
    Cause,
    /// An acknowledgement is of the very document that the control plane has.
    Acknowledgement,
    /// A deployment never goes back, and what has ended stays ended.
    Steps,
    /// Nothing that a tenant was told is kept gets lost.
    Intent,
    /// A service that was ready is reachable while nothing but deployments happens.
    Availability,
    /// Two versions of a service that must be alone never run at once, nor more of one than were ever wanted.
    Alone,
    /// Nothing is given up as lost in a region of which too much can't be seen.
    MassStop,
    /// What a restored database has forgotten is taken back before anything is placed in its stead, and nothing
    /// is stopped for having been taken back.
    Adoption,
    /// A ring of edges gets a version after the rings before it have served by it for the soak time, and none
    /// that was stopped.
    Ring,
    /// A version that edges can't use reaches the first ring with edges only.
    BadRendering,
    /// What a newer program leads, no older one renders back.
    Rendering,
    /// Only the node's word counts that has a build, one node is told to make it, and a deployment goes on with the
    /// image that its build gave and nobody had canceled.
    Build,
    /// When all is mended, everything comes to rest as it was asked for.
    Convergence,
}

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Violation {
    pub invariant: Invariant,
    pub at: Millis,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.at / 1_000, self.at % 1_000);
        write!(
            f,
            "{:?} at {seconds}.{millis:03} s: {}",
            self.invariant, self.what
        )
    }
}

/// What a node's instances reserve together.
fn sum(tables: &Tables, node: NodeId) -> Amount {
    let held = tables.instances.values();
    let held = held.filter(|instance| instance.node == node && !instance.stopped());
    held.fold(Amount::default(), |sum, instance| sum.plus(instance.amount))
}

/// Remembers what it was told, and the first promise that was broken.
#[derive(Debug, Default)]
pub struct Checker {
    pub now: Millis,
    first: Option<Violation>,
    /// Digest of every position of this database's history.
    written: BTreeMap<FeedName, BTreeMap<Position, String>>,
    /// Instances that some history of the database has told to stop.
    told: BTreeSet<InstanceId>,
    /// Instances without a plan that some history of the database has let go.
    let_go: BTreeSet<InstanceId>,
    /// Told although late edges had not acknowledged, as the design allows after ten minutes.
    tolerated: BTreeSet<InstanceId>,
    /// The last moment at which history may have been cut, or was taken up anew.
    disaster: Option<Millis>,
    /// The most of a service that were ever wanted in a region.
    most: BTreeMap<(ServiceId, Name), u32>,
    renderings: rollout::Renderings,
    /// Images.
    made: builds::Made,
}

impl Checker {
    /// A promise is broken; only the first one counts.
    pub fn broken(&mut self, invariant: Invariant, what: String) {
        let at = self.now;
        self.first.get_or_insert(Violation {
            invariant,
            at,
            what,
        });
    }

    /// The first broken promise.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.first.as_ref()
    }

    /// A node's reservation has changed.
    pub fn reserved(&mut self, tables: &Tables, node: NodeId) {
        let Some(row) = tables.nodes.get(&node) else {
            return;
        };
        let sum = sum(tables, node);
        if sum != row.reserved {
            let what = format!(
                "{node} has {:?} reserved for instances of {sum:?}",
                row.reserved
            );
            self.broken(Invariant::Capacity, what);
        }
    }

    /// Something has been placed on a node. What is only taken back may be more than there is room for.
    pub fn placed(&mut self, tables: &Tables, node: NodeId) {
        self.reserved(tables, node);
        let Some(row) = tables.nodes.get(&node) else {
            return;
        };
        let sum = sum(tables, node);
        let capacity = row.status.as_ref().map(|status| status.capacity);
        if capacity.is_some_and(|capacity| !capacity.holds(sum)) {
            let what = format!("{node} has {capacity:?} and is promised {sum:?}");
            self.broken(Invariant::Capacity, what);
        }
    }

    /// So many of a service are wanted.
    pub fn wanted(&mut self, service: ServiceId, replicas: &BTreeMap<Name, u32>) {
        for (region, wanted) in replicas {
            let most = self.most.entry((service, region.clone())).or_default();
            *most = (*most).max(*wanted);
        }
    }

    /// The most of it that were ever wanted there.
    #[must_use]
    pub fn most_wanted(&self, service: ServiceId, region: &Name) -> usize {
        let most = self.most.get(&(service, region.clone()));
        most.map_or(0, |most| *most as usize)
    }

    /// The scheduler has made a plan from these tables.
    pub fn planned(&mut self, tables: &Tables, plan: &Plan) {
        let lost = |stop: &&scheduler::Stop| stop.cause == StopCause::Replaced;
        for stop in plan.stops.iter().filter(lost) {
            let Some(row) = tables.instances.get(&stop.instance_id) else {
                continue;
            };
            let agents = tables.nodes.values();
            let agents = agents.filter(|node| !node.is_edge && node.status.is_some());
            let agents = agents.filter(|node| node.region == row.region);
            let late = agents.clone().filter(|node| node.is_late()).count();
            if late > 1 && late * 100 > agents.count() * LOST_MAX {
                let what = format!(
                    "{} is given up, and {late} nodes of {} can't be seen",
                    row.id, row.region
                );
                self.broken(Invariant::MassStop, what);
            }
        }
    }

    /// One is too many because another one was taken back.
    pub fn stopped_for(&mut self, stopped: InstanceId, taken_back: InstanceId) {
        let what = format!("{taken_back} is taken back, and {stopped} is stopped as one too many");
        self.broken(Invariant::Adoption, what);
    }

    /// Something is placed although this of the same release runs there without a plan.
    pub fn placed_anew(&mut self, placement: &Placement, runs: InstanceId) {
        let (deployment, region) = (placement.deployment_id, &placement.region);
        let what = format!("{deployment} is placed anew in {region}, where {runs} of it runs");
        self.broken(Invariant::Adoption, what);
    }

    /// A feed has a new generation.
    pub fn feed_written(&mut self, tables: &Tables, feed: &FeedName) {
        let Some(row) = tables.feeds.get(feed) else {
            return;
        };
        let history = self.written.entry(feed.clone()).or_default();
        history.insert(tables.position(feed), row.digest.clone());
    }

    /// History was cut: positions beyond the tables' are no part of it any more.
    pub fn history_cut(&mut self, tables: &Tables, now: Millis) {
        for (feed, history) in &mut self.written {
            let head = tables.position(feed);
            history.retain(|position, _| *position <= head);
        }
        self.disaster = Some(now);
    }

    /// A new epoch begins.
    pub fn epoch_began(&mut self, now: Millis) {
        self.disaster = Some(now);
    }

    /// When history was cut or taken up anew last.
    #[must_use]
    pub const fn disaster(&self) -> Option<Millis> {
        self.disaster
    }

    /// Acknowledgements were stored. Those of earlier epochs let nobody go on.
    pub fn acknowledged(&mut self, epoch: Epoch, commits: &[Commit]) {
        for commit in commits.iter().filter(|commit| commit.epoch == epoch) {
            let history = self.written.get(&commit.feed);
            let digest = history.and_then(|history| history.get(&commit.position()));
            if digest.is_some_and(|digest| *digest != commit.digest) {
                let what = format!(
                    "an acknowledgement of other content was taken for {} of {}",
                    commit.position(),
                    commit.feed
                );
                self.broken(Invariant::Acknowledgement, what);
            }
        }
    }

    /// A deployment is in another step.
    pub fn stepped(&mut self, id: DeploymentId, before: Step, after: Step) {
        if before.is_final() || after < before {
            let what = format!("{id} went from {} to {}", before.as_str(), after.as_str());
            self.broken(Invariant::Steps, what);
        }
    }

    /// A replica has told an instance to stop, or forgotten it.
    pub fn told(&mut self, id: InstanceId) {
        self.told.insert(id);
    }

    /// What ran without a plan is let go.
    pub fn let_go(&mut self, id: InstanceId) {
        self.let_go.insert(id);
    }

    /// Whether any history has let it go.
    #[must_use]
    pub fn was_let_go(&self, id: InstanceId) -> bool {
        self.let_go.contains(&id)
    }

    /// Whether any history has told it to stop.
    #[must_use]
    pub fn was_told(&self, id: InstanceId) -> bool {
        self.told.contains(&id)
    }

    /// It is told although a late edge may still use it.
    pub fn tolerated_late_edges(&mut self, id: InstanceId) {
        self.tolerated.insert(id);
    }

    /// Whether a late edge may still use it.
    #[must_use]
    pub fn is_tolerated(&self, id: InstanceId) -> bool {
        self.tolerated.contains(&id)
    }
}
