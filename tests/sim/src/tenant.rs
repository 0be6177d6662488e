//! What tenants and operators ask for, and what they were told is kept.

use std::collections::BTreeMap;

use domain::{
    deployment::Source,
    id::{DeploymentId, ReleaseId, ServiceId},
    name::Name,
};
use protocol::feed::DropCause;

use crate::{
    clock::SECOND,
    control::Task,
    fault::Fault,
    node::Program,
    trace::Note,
    world::{Event, World},
};

/// Everything that was acknowledged, in order.
#[derive(Debug, Default)]
pub struct Intents(Vec<Intent>);

/// Something that a tenant was told is kept.
#[derive(Debug, Clone)]
pub enum Intent {
    /// A version shall run.
    Deploy(ServiceId, DeploymentId),
    /// So many shall run.
    Scale(ServiceId, BTreeMap<Name, u32>),
    /// Nothing of it shall be left.
    Delete(ServiceId),
    /// Nothing of it shall run for now.
    Down(ServiceId),
}

impl Intents {
    /// How many there are: a mark in their order, which is finer than the clock's.
    pub const fn mark(&self) -> usize {
        self.0.len()
    }

    /// The database has lost what came after this mark, and nobody could keep it.
    pub fn cut(&mut self, mark: usize) {
        self.0.truncate(mark);
    }

    /// What still counts, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &Intent> {
        self.0.iter()
    }
}

impl World {
    /// The next wish of somebody.
    pub(crate) fn want(&mut self) {
        if self.healed.is_some() {
            return;
        }
        let pause = self.random.between(3 * SECOND, 20 * SECOND);
        let pause = if self.weather.builds {
            pause / 3
        } else {
            pause
        };
        self.after(pause, Event::Want);
        let replica = self.random.below(self.replicas.len());
        let process = &self.replicas[replica];
        if !self.database.up || !process.up || process.paused_until > self.now {
            return;
        }
        let services: Vec<ServiceId> = self
            .tables
            .services
            .values()
            .filter(|row| !row.deleted)
            .map(|row| row.id)
            .collect();
        let Some(service) = self.random.pick(&services).copied() else {
            return;
        };
        match self.random.between(0, 99) {
            _ if self.weather.moves => self.relocate(service),
            of if self.weather.builds && of < 80 => self.deploy_new(service),
            0..45 => self.deploy_new(service),
            45..60 => self.scale(service),
            60..75 => self.roll_back(service),
            75..79 => self.delete(service),
            79..84 => self.take_down(service),
            84..88 => self.cancel(service),
            88..92 => self.let_one_go(),
            _ => self.drain_or_not(),
        }
        self.after_commit();
    }

    fn acknowledge(&mut self, intent: Intent) {
        self.note(Note::Intent(format!("{intent:?}")));
        self.intents.0.push(intent);
        self.wake(Task::Evaluations);
        self.wake(Task::Deployments);
    }

    /// A new version of a service, mostly a good one.
    pub(crate) fn deploy_new(&mut self, service: ServiceId) {
        let program = match self.random.between(0, 9) {
            0 => Program::Crashing,
            1 => Program::Mute,
            _ => Program::Good,
        };
        let reference = self.some_digest();
        self.programs.insert(reference.clone(), program);
        let source = Source::Git {
            repo: "https://git.test/app.git".to_owned(),
            reference: Some(reference),
            root: "/".to_owned(),
            deploy_key: None,
        };
        let spec = self
            .tables
            .services
            .get(&service)
            .map(|row| row.spec.clone());
        if let Some(spec) = spec {
            self.deploy(service, source, spec);
        }
    }

    fn deploy(&mut self, service: ServiceId, source: Source, spec: domain::spec::ServiceSpec) {
        let id = DeploymentId::from(self.random.uuid(self.now));
        self.tables
            .insert_deployment(id, service, source, spec, self.now);
        self.acknowledge(Intent::Deploy(service, id));
    }

    fn roll_back(&mut self, service: ServiceId) {
        let live = self.tables.live_deployments(service);
        let releases: Vec<ReleaseId> = live
            .iter()
            .filter_map(|id| self.tables.deployments.get(id)?.release)
            .collect();
        let Some(id) = self.random.pick(&releases).copied() else {
            return;
        };
        let Some(release) = self.tables.releases.get(&id).cloned() else {
            return;
        };
        if let Some(row) = self.tables.services.get_mut(&service) {
            row.spec = release.spec.clone();
        }
        let regions = release.spec.scale.regions.clone();
        self.acknowledge(Intent::Scale(service, regions));
        self.deploy(service, Source::Release { id }, release.spec.clone());
    }

    fn scale(&mut self, service: ServiceId) {
        let regions = self.some_regions();
        if let Some(row) = self.tables.services.get_mut(&service) {
            row.spec.scale.regions.clone_from(&regions);
        }
        self.evaluate(service);
        self.acknowledge(Intent::Scale(service, regions));
    }

    /// Other regions, sometimes with a new version.
    fn relocate(&mut self, service: ServiceId) {
        self.scale(service);
        if self.random.chance(300) {
            self.deploy_new(service);
        }
    }

    /// One to three replicas in one region or more.
    pub(crate) fn some_regions(&mut self) -> BTreeMap<Name, u32> {
        let all = self.tables.regions.clone();
        let mut regions = BTreeMap::new();
        let wanted = self.random.between(1, 2);
        for _ in 0..wanted {
            let replicas = u32::try_from(self.random.between(1, 3)).unwrap_or(1);
            if let Some(region) = self.random.pick(&all) {
                regions.insert(region.clone(), replicas);
            }
        }
        regions
    }

    fn delete(&mut self, service: ServiceId) {
        if let Some(row) = self.tables.services.get_mut(&service) {
            row.deleted = true;
        }
        self.evaluate(service);
        self.let_go_of_orphans(service, DropCause::Deletion);
        self.acknowledge(Intent::Delete(service));
    }

    fn take_down(&mut self, service: ServiceId) {
        if let Some(row) = self.tables.services.get_mut(&service) {
            row.active = false;
            // Nobody who has read the row before may write it after this: in production one waits for the other.
            row.locked += 1;
        }
        self.established.remove(&service);
        if self.fault != Some(Fault::DownUnheard) {
            self.cancel_all(service);
        }
        self.evaluate(service);
        self.acknowledge(Intent::Down(service));
    }

    fn cancel(&mut self, service: ServiceId) {
        self.note(Note::Intent(format!("cancel {service}")));
        self.cancel_all(service);
        self.wake(Task::Deployments);
    }

    fn cancel_all(&mut self, service: ServiceId) {
        let rows = self.tables.deployments.values_mut();
        for row in rows.filter(|row| row.service == service && !row.state.step.is_final()) {
            row.cancel_requested = true;
        }
    }

    fn drain_or_not(&mut self) {
        let busy: Vec<_> = self
            .tables
            .instances
            .values()
            .filter(|row| !row.stopped())
            .map(|row| row.node)
            .collect();
        let Some(id) = self.random.pick(&busy).copied() else {
            return;
        };
        if let Some(row) = self.tables.nodes.get_mut(&id) {
            row.draining = !row.draining;
            let what = format!("{id} draining: {}", row.draining);
            self.note(Note::Intent(what));
        }
    }
}
