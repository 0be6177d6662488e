//! Drives deployments through the real machine. The effects are those of
//! `control-plane/src/reconcile/deployments/apply.rs`, on the model's tables.

use std::{collections::BTreeMap, sync::Arc};

use control_plane::{
    feed::build::repository,
    reconcile::deployments::{
        decide::{Edges, Progress, Seen, View, decide},
        draining::Older,
    },
    store::{deployment::Deployment, placement::Release},
};
use domain::{
    deployment::{
        Source,
        machine::{Effect, Outcome, State, Step as At},
    },
    id::{BuildId, DeploymentId, ReleaseId},
    quantity::Span,
};
use protocol::{feed::DropCause, item::BuildSource};

use super::{Prepared, Task};
use crate::{fault::Fault, trace::Note, world::World};

/// Where images are pushed to.
pub(super) const REGISTRY: &str = "registry.test";

/// A step that is about to be written.
#[derive(Debug)]
pub struct Step {
    locked: u64,
    deployment: Deployment,
    next: State,
    effects: Vec<Effect>,
}

impl Step {
    pub(super) fn writes_routes(&self) -> bool {
        let mut effects = self.effects.iter();
        effects.any(|effect| matches!(effect, Effect::Route | Effect::Abandon))
    }
}

impl World {
    pub(super) fn turn_deployments(&mut self, replica: usize) {
        for (order, (id, _)) in self.tables.unfinished().into_iter().enumerate() {
            let Some(deployment) = self.tables.find_unfinished(id, self.now) else {
                continue;
            };
            let decided = decide(&self.view(&deployment));
            if let Some((next, effects)) = decided {
                let step = Step {
                    locked: self.locked(deployment.service),
                    deployment,
                    next,
                    effects,
                };
                self.commit_later(replica, order, Prepared::Step(Box::new(step)));
            }
        }
    }

    fn view<'a>(&self, deployment: &'a Deployment) -> View<'a> {
        let tables = &self.tables;
        let seen = match deployment.state.step {
            At::Building => Seen::Build(tables.deployment_build(deployment.id)),
            At::Releasing => Seen::Release(match deployment.release {
                Some(_) => Outcome::Succeeded,
                None => Outcome::Pending,
            }),
            At::Placing | At::Starting | At::Verifying => {
                Seen::Instances(self.progress(deployment))
            }
            At::Shifting => Seen::Edges(Edges {
                followers: tables.followers(&positions(deployment)),
                old_draining: self.old_draining(deployment),
            }),
            At::Draining => Seen::Older(self.older(deployment)),
            _ => Seen::Row,
        };
        let service = tables.services.get(&deployment.service);
        View {
            deployment,
            service_deleted: service.is_none_or(|service| service.deleted),
            seen,
        }
    }

    fn progress(&self, deployment: &Deployment) -> Progress {
        let release = self.tables.release_of(deployment.id);
        let image = release.map(|release| release.image).unwrap_or_default();
        let spec = self.tables.services.get(&deployment.service);
        let instances = self.tables.deployment_instances(deployment.id);
        let shortages = self.tables.shortages(deployment.service);
        Progress {
            step: deployment.state.step,
            replicas: spec.map_or_else(BTreeMap::new, |row| self.tables.replicas(&row.spec)),
            instances: instances.into_iter().filter(|i| !i.going).collect(),
            digest: image.rsplit('@').next().unwrap_or_default().to_owned(),
            shortages: shortages
                .into_iter()
                .filter(|shortage| shortage.deployment_id == deployment.id)
                .collect(),
        }
    }

    fn old_draining(&self, deployment: &Deployment) -> Span {
        let service = self.tables.service(deployment.service);
        let current = service.and_then(|service| service.current);
        let release = current.and_then(|current| self.tables.release_of(current));
        release.map_or(Span::seconds(0), |release| release.spec.deploy.draining)
    }

    fn older(&self, deployment: &Deployment) -> Older {
        let mut instances: BTreeMap<String, i64> = BTreeMap::new();
        for row in self.tables.older_instances(deployment.id) {
            *instances.entry(row.region.to_string()).or_default() += 1;
        }
        Older {
            instances,
            edges: self.tables.followers(&positions(deployment)),
        }
    }

    pub(super) fn commit_step(&mut self, replica: usize, step: Step) {
        let (id, service) = (step.deployment.id, step.deployment.service);
        let fenced = self.fault != Some(Fault::LeaseWithoutEpoch);
        if fenced && !self.lock(replica, service, step.locked) {
            self.wake(Task::Deployments);
            return;
        }
        let version = if fenced {
            step.deployment.version
        } else {
            let row = self.tables.deployments.get(&id);
            row.map_or(0, |row| row.version)
        };
        let before = self.tables.deployments.get(&id).map(|row| row.state.step);
        if !self.tables.advance(id, version, &step.next) {
            self.note(Note::Conflict(replica, id.to_string()));
            return;
        }
        for effect in &step.effects {
            self.effect(&step.deployment, *effect);
        }
        if let Some(before) = before.filter(|before| *before != step.next.step) {
            self.note(Note::Step(id, step.next.step));
            self.checker.stepped(id, before, step.next.step);
        }
        for task in [
            Task::Evaluations,
            Task::Deployments,
            Task::Builds,
            Task::Instances,
        ] {
            self.wake(task);
        }
    }

    fn effect(&mut self, deployment: &Deployment, effect: Effect) {
        match effect {
            Effect::StartBuild => self.start_build(deployment),
            Effect::MakeRelease => self.make_release(deployment),
            Effect::Place => {
                self.tables.target(deployment.id);
                self.evaluate(deployment.service);
            }
            Effect::Route => {
                self.tables
                    .point_to(deployment.service, Some(deployment.id));
                let positions = self.write_routes(deployment.service);
                if let Some(row) = self.tables.deployments.get_mut(&deployment.id) {
                    row.shift_positions = Some(positions);
                }
            }
            Effect::Adopt => {
                self.tables.adopt(deployment.id);
                if self.fault == Some(Fault::ScaleTakenBack) {
                    self.take_scale_back(deployment);
                }
                self.tables.begin_late_time(deployment.service, self.now);
                self.let_go_of_orphans(deployment.service, DropCause::Deployment);
                self.evaluate(deployment.service);
            }
            Effect::Abandon => self.abandon(deployment),
        }
    }

    /// The planted mistake: its service is what the deployment was asked for as.
    fn take_scale_back(&mut self, deployment: &Deployment) {
        if let Some(row) = self.tables.services.get_mut(&deployment.service) {
            row.spec = deployment.spec.clone();
        }
    }

    fn start_build(&mut self, deployment: &Deployment) {
        let Source::Git {
            repo, reference, ..
        } = &deployment.source
        else {
            return;
        };
        let source = BuildSource::Git {
            repo: repo.clone(),
            reference: reference.clone(),
            deploy_key: None,
        };
        let id = BuildId::from(self.random.uuid(self.now));
        self.tables.insert_build(id, deployment.id, source);
    }

    fn make_release(&mut self, deployment: &Deployment) {
        let release = match &deployment.source {
            Source::Release { id } | Source::Current { release: id } => Some(*id),
            _ => self.release_built(deployment),
        };
        if let Some(row) = self.tables.deployments.get_mut(&deployment.id) {
            row.release = release;
        }
    }

    fn release_built(&mut self, deployment: &Deployment) -> Option<ReleaseId> {
        let build = self.tables.newest_build(deployment.id)?;
        self.checker.released(deployment.id, build);
        let repository = repository(REGISTRY, deployment.organization, deployment.service);
        let image = format!("{repository}@{}", build.digest()?);
        Some(self.insert_release(deployment, image))
    }

    fn insert_release(&mut self, deployment: &Deployment, image: String) -> ReleaseId {
        let id = ReleaseId::from(self.random.uuid(self.now));
        let release = Release {
            id,
            deployment: deployment.id,
            deployment_number: deployment.number,
            image,
            spec: deployment.spec.clone(),
            variables: BTreeMap::new(),
            commit_sha: None,
            commit_author: None,
            commit_branch: None,
            traceparent: None,
        };
        self.tables.releases.insert(id, Arc::new(release));
        id
    }

    fn abandon(&mut self, deployment: &Deployment) {
        self.tables.abandon(deployment.id);
        let service = self.tables.service(deployment.service);
        if let Some(service) = service.filter(|s| s.routed == Some(deployment.id)) {
            self.tables.point_to(service.id, service.current);
            self.write_routes(service.id);
        }
        self.evaluate(deployment.service);
    }

    /// Where a deployment stands.
    #[must_use]
    pub fn step_of(&self, id: DeploymentId) -> Option<At> {
        self.tables.deployments.get(&id).map(|row| row.state.step)
    }
}

fn positions(deployment: &Deployment) -> control_plane::store::route::Positions {
    deployment.shift_positions.clone().unwrap_or_default()
}
