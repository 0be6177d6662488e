//! The rows that decisions are made from, in memory, with the same compare-and-set rules as the SQL in
//! `control-plane/src/store`. `testkit::compare_and_set` runs one suite against both.

mod build;
mod deployment;
mod epoch;
mod evaluation;
mod feed;
mod fence;
mod instance;
mod lease;
mod liveness;
mod orphan;
mod placement;
mod platform_route;
mod report;
mod rollout;
mod route;

pub use build::{BuildRow, is_canceled};
pub use deployment::DeploymentRow;
pub use evaluation::{Claim, EvaluationRow, EvaluationState};
pub use feed::FeedRow;
pub use instance::{InstanceRow, Status};
pub use orphan::{OrphanRow, SETTLING};
pub use placement::NewInstance;
pub use platform_route::PlatformRows;
pub use report::Noticed;
pub use rollout::{RingRow, RolloutRows};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use control_plane::store::{
    placement::{Release, Service},
    rollout::Counts,
};
use domain::{
    generation::{Epoch, Position},
    id::{
        BuildId, DeploymentId, EnvironmentId, EvaluationId, InstanceId, NodeId, OrganizationId,
        ProjectId, ReleaseId, ServiceId,
    },
    name::Name,
    ring::Ring,
    spec::ServiceSpec,
};
use protocol::feed::FeedName;
use scheduler::Amount;
use uuid::Uuid;

use crate::clock::Millis;

/// The database.
#[derive(Debug, Clone)]
pub struct Tables {
    pub platform: Platform,
    pub regions: Vec<Name>,
    pub services: BTreeMap<ServiceId, ServiceRow>,
    pub deployments: BTreeMap<DeploymentId, DeploymentRow>,
    pub builds: BTreeMap<BuildId, BuildRow>,
    pub releases: BTreeMap<ReleaseId, Arc<Release>>,
    pub instances: BTreeMap<InstanceId, InstanceRow>,
    pub nodes: BTreeMap<NodeId, NodeRow>,
    pub node_feeds: BTreeMap<(NodeId, FeedName), Position>,
    /// Items that a node keeps although its feed lacks them.
    pub held_drops: BTreeMap<(NodeId, FeedName), u64>,
    pub orphans: BTreeMap<(NodeId, InstanceId), OrphanRow>,
    pub feeds: BTreeMap<FeedName, Arc<FeedRow>>,
    pub leases: BTreeMap<String, LeaseRow>,
    pub evaluations: BTreeMap<EvaluationId, EvaluationRow>,
    pub rollout: RolloutRows,
    /// No row itself: what the platform's items were made of that feeds have.
    pub platform_written: Option<PlatformRows>,
    /// Feeds that were written since somebody asked.
    pub written: BTreeSet<FeedName>,
    /// Of the server that these rows lie on; no row itself.
    pub timeline: u32,
    /// Likewise; what the server takes for the time.
    pub clock: Millis,
    /// An epoch that has begun by itself since somebody asked.
    pub begun: Option<Epoch>,
    /// Whose rows these are: one tenant is enough, as isolation is tested elsewhere.
    pub tenant: Tenant,
}

/// The row of the platform.
#[derive(Debug, Clone, Default)]
pub struct Platform {
    pub epoch: Epoch,
    pub epoch_since: Millis,
    /// The highest position that a node has seen and this database has not.
    pub shown: Option<(FeedName, Position)>,
    /// Of the server, as it was stored.
    pub timeline: Option<u32>,
    pub listened_at: Millis,
    pub listening_since: Millis,
}

/// The tenant's ids and names.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub organization: OrganizationId,
    pub project: ProjectId,
    pub environment: EnvironmentId,
    pub name: Name,
}

/// A service.
#[derive(Debug, Clone)]
pub struct ServiceRow {
    pub id: ServiceId,
    pub name: Name,
    pub spec: ServiceSpec,
    pub active: bool,
    pub deleted: bool,
    pub current: Option<DeploymentId>,
    /// What was current when it was taken down.
    pub down: Option<DeploymentId>,
    pub target: Option<DeploymentId>,
    pub routed: Option<DeploymentId>,
    pub hostname: String,
    /// Rises with each transaction that held the row: whoever read an older one would have waited.
    pub locked: u64,
}

/// A node.
#[derive(Debug, Clone)]
pub struct NodeRow {
    pub id: NodeId,
    pub is_edge: bool,
    /// Of an edge.
    pub ring: Ring,
    pub region: Name,
    pub schedulable: bool,
    pub draining: bool,
    /// An operator has declared it dead.
    pub fenced: bool,
    pub reserved: Amount,
    pub status: Option<NodeStatus>,
}

/// What a node reported last.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    pub boot_id: String,
    /// Processes before this one, the newest first.
    pub previous_boots: Vec<String>,
    pub sequence: u64,
    pub capacity: Amount,
    pub address: std::net::SocketAddr,
    pub reported_at: Millis,
    pub late_since: Option<Millis>,
    /// Of an edge, since the start of its process.
    pub traffic: Counts,
}

/// A lease.
#[derive(Debug, Clone)]
pub struct LeaseRow {
    pub holder: Uuid,
    pub epoch: i64,
    pub expires_at: Millis,
}

impl Tables {
    /// An empty database of a platform.
    #[must_use]
    pub fn new(regions: Vec<Name>, tenant: Tenant) -> Self {
        Self {
            platform: Platform {
                epoch: Epoch(1),
                ..Platform::default()
            },
            regions,
            services: BTreeMap::new(),
            deployments: BTreeMap::new(),
            builds: BTreeMap::new(),
            releases: BTreeMap::new(),
            instances: BTreeMap::new(),
            nodes: BTreeMap::new(),
            node_feeds: BTreeMap::new(),
            held_drops: BTreeMap::new(),
            orphans: BTreeMap::new(),
            feeds: BTreeMap::new(),
            leases: BTreeMap::new(),
            evaluations: BTreeMap::new(),
            rollout: RolloutRows::default(),
            platform_written: None,
            written: BTreeSet::new(),
            timeline: 1,
            clock: 0,
            begun: None,
            tenant,
        }
    }

    /// A service as placement sees it.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<Service> {
        let row = self.services.get(&id)?;
        Some(Service {
            id,
            organization: self.tenant.organization,
            name: row.name.clone(),
            environment: self.tenant.environment,
            environment_name: self.tenant.name.clone(),
            project: self.tenant.project,
            project_name: self.tenant.name.clone(),
            spec: row.spec.clone(),
            active: row.active,
            deleted: row.deleted,
            current: row.current.filter(|current| row.down != Some(*current)),
            target: row.target,
            routed: row.routed,
        })
    }

    /// The release of a deployment, once it has one.
    #[must_use]
    pub fn release_of(&self, deployment: DeploymentId) -> Option<Release> {
        let deployment = self.deployments.get(&deployment)?;
        let release = self.releases.get(&deployment.release?)?;
        Some(Release {
            deployment: deployment.id,
            deployment_number: deployment.number,
            ..Release::clone(release)
        })
    }

    /// Replicas per region; without any in the specification, one in the first region.
    #[must_use]
    pub fn replicas(&self, spec: &ServiceSpec) -> BTreeMap<Name, u32> {
        if !spec.scale.regions.is_empty() {
            return spec.scale.regions.clone();
        }
        self.regions
            .first()
            .map(|first| (first.clone(), 1))
            .into_iter()
            .collect()
    }
}
