//! Instances on their way out: unrouted, told to stop, stopped, forgotten.

use control_plane::{
    feed::instance::item_id,
    store::{instance::Going, route::Positions},
};
use domain::{
    deployment::machine::Failure,
    generation::{Generation, Position},
    id::{DeploymentId, InstanceId, NodeId, ReleaseId, ServiceId},
    instance::{Desired, State},
    name::Name,
};
use protocol::feed::FeedName;
use scheduler::Amount;

use super::{NewInstance, Tables};
use crate::clock::{self, Millis};

/// An instance with its status.
#[derive(Debug, Clone)]
pub struct InstanceRow {
    pub id: InstanceId,
    pub service: ServiceId,
    pub deployment: DeploymentId,
    pub release: ReleaseId,
    pub node: NodeId,
    pub region: Name,
    pub amount: Amount,
    pub desired: Desired,
    pub stop_cause: Option<String>,
    pub unrouted: Option<Positions>,
    pub unrouted_at: Option<Millis>,
    pub stopped_at: Option<Millis>,
    pub status: Status,
}

/// What its node reported last.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub state: State,
    pub ready: bool,
    pub restarts: u32,
    pub address: Option<std::net::SocketAddr>,
    pub digest: Option<String>,
    pub exit_code: Option<i64>,
    pub problem: Option<Failure>,
    pub reported_at: Option<Millis>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            state: State::Assigned,
            ready: false,
            restarts: 0,
            address: None,
            digest: None,
            exit_code: None,
            problem: None,
            reported_at: None,
        }
    }
}

impl InstanceRow {
    /// One that shall run, and of which nothing was reported yet.
    #[must_use]
    pub fn new(new: NewInstance, region: Name) -> Self {
        Self {
            id: new.id,
            service: new.service,
            deployment: new.deployment,
            release: new.release,
            node: new.node,
            region,
            amount: new.amount,
            desired: Desired::Run,
            stop_cause: None,
            unrouted: None,
            unrouted_at: None,
            stopped_at: None,
            status: Status::default(),
        }
    }

    /// It has gone.
    #[must_use]
    pub const fn stopped(&self) -> bool {
        self.stopped_at.is_some()
    }
}

impl Tables {
    /// Every instance that shall go and has not gone.
    #[must_use]
    pub fn going(&self, now: Millis) -> Vec<Going> {
        let going = |row: &&InstanceRow| row.stop_cause.is_some() && !row.stopped();
        let mut all: Vec<&InstanceRow> = self.instances.values().filter(going).collect();
        all.sort_unstable_by_key(|row| (row.service, row.id));
        all.into_iter().map(|row| self.going_of(row, now)).collect()
    }

    fn going_of(&self, row: &InstanceRow, now: Millis) -> Going {
        Going {
            id: row.id,
            organization: self.tenant.organization,
            service: row.service,
            node: row.node,
            region: row.region.clone(),
            cause: row.stop_cause.clone().unwrap_or_default(),
            told: row.desired == Desired::Stop,
            serves: true,
            unrouted: row.unrouted.clone(),
            unrouted_at: row.unrouted_at.map(clock::wall),
            ended: row.status.state >= State::Stopped || self.is_unknown_to_its_node(row),
            node_gone: self.nodes.get(&row.node).is_some_and(|node| node.fenced),
            now: clock::wall(now),
        }
    }

    /// Its node has applied its item and reports without it.
    fn is_unknown_to_its_node(&self, row: &InstanceRow) -> bool {
        let feed = FeedName::Node(row.node);
        let known = || {
            let item = self.feeds.get(&feed)?.generation_of(&item_id(row.id))?;
            let applied = self.node_feeds.get(&(row.node, feed.clone()))?;
            let reported_at = self.nodes.get(&row.node)?.status.as_ref()?.reported_at;
            let needed = Position {
                epoch: self.platform.epoch,
                generation: Generation(item),
            };
            Some(*applied >= needed && row.status.reported_at? < reported_at)
        };
        known().unwrap_or(false)
    }

    /// Tells it to stop, unless somebody did.
    pub fn tell(&mut self, id: InstanceId) -> bool {
        match self.instances.get_mut(&id) {
            Some(row) if row.desired == Desired::Run => {
                row.desired = Desired::Stop;
                true
            }
            _ => false,
        }
    }

    /// It has gone: its reservation is given back, exactly once.
    pub fn gone(&mut self, id: InstanceId) -> bool {
        let Some(row) = self.instances.get_mut(&id).filter(|row| !row.stopped()) else {
            return false;
        };
        row.stopped_at = Some(self.clock);
        row.desired = Desired::Stop;
        let (node, amount) = (row.node, row.amount);
        let Some(node) = self.nodes.get_mut(&node) else {
            return false;
        };
        node.reserved = node.reserved.minus(amount);
        true
    }

    /// Marks an instance as one that shall go; the first cause stays.
    pub fn stop(&mut self, id: InstanceId, cause: &str) {
        if let Some(row) = self.instances.get_mut(&id) {
            row.stop_cause.get_or_insert_with(|| cause.to_owned());
        }
    }
}
