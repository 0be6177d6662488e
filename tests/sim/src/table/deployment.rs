//! Deployments and the columns of a service that they change.

use control_plane::store::{
    deployment::{Deployment, Instance},
    route::Positions,
};
use domain::{
    deployment::{
        Source,
        machine::{State, Step, queued},
    },
    id::{DeploymentId, ReleaseId, ServiceId},
    spec::ServiceSpec,
};

use super::Tables;
use crate::clock::{self, Millis};

/// A deployment.
#[derive(Debug, Clone)]
pub struct DeploymentRow {
    pub id: DeploymentId,
    pub service: ServiceId,
    pub number: i64,
    pub source: Source,
    pub spec: ServiceSpec,
    pub cancel_requested: bool,
    pub release: Option<ReleaseId>,
    pub state: State,
    pub shift_positions: Option<Positions>,
    pub version: i64,
}

impl Tables {
    /// Stores a new deployment behind all others of its service.
    pub fn insert_deployment(
        &mut self,
        id: DeploymentId,
        service: ServiceId,
        source: Source,
        spec: ServiceSpec,
        now: Millis,
    ) {
        let of_service = self.deployments.values().filter(|d| d.service == service);
        let number = of_service.map(|d| d.number).max().unwrap_or_default() + 1;
        let row = DeploymentRow {
            id,
            service,
            number,
            source,
            spec,
            cancel_requested: false,
            release: None,
            state: queued(clock::wall(now)),
            shift_positions: None,
            version: 1,
        };
        self.deployments.insert(id, row);
    }

    /// Deployments that have not ended, oldest first.
    #[must_use]
    pub fn unfinished(&self) -> Vec<(DeploymentId, ServiceId)> {
        let mut all: Vec<_> = self
            .deployments
            .values()
            .filter(|row| !row.state.step.is_final())
            .map(|row| (row.service, row.number, row.id))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(s, _, id)| (id, s)).collect()
    }

    /// One that has not ended, as its reconciler sees it.
    #[must_use]
    pub fn find_unfinished(&self, id: DeploymentId, now: Millis) -> Option<Deployment> {
        let row = self.deployments.get(&id)?;
        if row.state.step.is_final() {
            return None;
        }
        let others = || {
            let open = |d: &&DeploymentRow| !d.state.step.is_final();
            let same = |d: &&DeploymentRow| d.service == row.service;
            self.deployments.values().filter(open).filter(same)
        };
        Some(Deployment {
            id,
            organization: self.tenant.organization,
            service: row.service,
            number: row.number,
            source: row.source.clone(),
            spec: row.spec.clone(),
            reason: "deploy".to_owned(),
            cancel_requested: row.cancel_requested,
            traceparent: None,
            release: row.release,
            state: row.state.clone(),
            shift_positions: row.shift_positions.clone(),
            older_at_work: others().any(|d| d.number < row.number),
            newer_waits: others().any(|d| d.number > row.number),
            now: clock::wall(now),
            version: row.version,
        })
    }

    /// Keeps a new state if nobody else has changed the row; whether it did.
    pub fn advance(&mut self, id: DeploymentId, version: i64, next: &State) -> bool {
        let Some(row) = self.deployments.get_mut(&id) else {
            return false;
        };
        if row.version != version {
            return false;
        }
        row.state = next.clone();
        row.version += 1;
        true
    }

    /// The service works towards this deployment from now on.
    pub fn target(&mut self, id: DeploymentId) {
        let service = self.deployments.get(&id).map(|row| row.service);
        if let Some(row) = service.and_then(|service| self.services.get_mut(&service)) {
            row.target = Some(id);
            row.active = true;
        }
    }

    /// It is what the service runs.
    pub fn adopt(&mut self, id: DeploymentId) {
        let service = self.deployments.get(&id).map(|row| row.service);
        if let Some(row) = service.and_then(|service| self.services.get_mut(&service)) {
            row.current = Some(id);
            row.target = None;
        }
    }

    /// It is not worked towards any more; its build is called off.
    pub fn abandon(&mut self, id: DeploymentId) {
        self.cancel_builds(id);
        let service = self.deployments.get(&id).map(|row| row.service);
        if let Some(row) = service.and_then(|service| self.services.get_mut(&service))
            && row.target == Some(id)
        {
            row.target = None;
        }
    }

    /// What is current shall not run any more, nor be routed to.
    pub fn take_down(&mut self, service: ServiceId) {
        if let Some(row) = self.services.get_mut(&service).filter(|row| !row.active) {
            row.down = row.current;
            row.routed = None;
        }
    }

    /// The instances of a deployment as its reconciler sees them.
    #[must_use]
    pub fn deployment_instances(&self, id: DeploymentId) -> Vec<Instance> {
        let of = self.instances.values().filter(|row| row.deployment == id);
        of.map(|row| Instance {
            id: row.id,
            region: row.region.to_string(),
            node: row.node.to_string(),
            command: false,
            going: row.stop_cause.is_some(),
            state: row.status.state,
            ready: row.status.ready,
            restarts: i32::try_from(row.status.restarts).unwrap_or(i32::MAX),
            digest: row.status.digest.clone(),
            exit_code: row.status.exit_code,
            problem: row.status.problem.clone(),
        })
        .collect()
    }

    /// Deployments of a service that were live, oldest first.
    #[must_use]
    pub fn live_deployments(&self, service: ServiceId) -> Vec<DeploymentId> {
        let live = |row: &&DeploymentRow| row.service == service && row.state.step == Step::Live;
        let mut all: Vec<_> = self.deployments.values().filter(live).collect();
        all.sort_unstable_by_key(|row| row.number);
        all.iter().map(|row| row.id).collect()
    }
}
