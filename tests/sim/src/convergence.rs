//! Whether everything has come to rest as it was asked for.

mod intents;

use std::collections::{BTreeMap, BTreeSet};

use control_plane::store::rollout::Progress;
use domain::{
    deployment::machine::Step,
    id::{InstanceId, ServiceId},
    name::Name,
    spec::ServiceKind,
};

use crate::{
    clock::{MINUTE, Millis, SECOND},
    edge::EdgeNode,
    invariant::Invariant,
    network::Peer,
    rendering::Quality,
    table::{InstanceRow, ServiceRow},
    world::{Event, World},
};

/// Longest wait of the design, several times: shifting (15 min), late edges (10 min), restarts (15 min).
const PATIENCE: Millis = 60 * MINUTE;
const LOOK: Millis = 5 * SECOND;

impl World {
    /// Looks whether everything rests; when it does not for too long, that is a broken promise.
    pub(crate) fn rest(&mut self) {
        self.say_restored();
        self.resume_rollout();
        let Some(healed) = self.healed else {
            return;
        };
        match self.unrest() {
            None => {
                self.check_intents();
                self.rested = Some(self.now);
            }
            Some(what) if self.now > healed + PATIENCE => {
                self.checker.broken(Invariant::Convergence, what);
            }
            Some(_) => self.after(LOOK, Event::Rest),
        }
    }

    /// The first thing that is not as it shall be.
    #[must_use]
    pub fn unrest(&self) -> Option<String> {
        if let Some((feed, position)) = &self.tables.platform.shown {
            return Some(format!("{position} of {feed} was shown"));
        }
        if let Some((id, _)) = self.tables.unfinished().first() {
            let step = self.step_of(*id).map_or("?", Step::as_str);
            return Some(format!("{id} is still {step}"));
        }
        if let Some(going) = self.tables.going(self.now).first() {
            let (id, cause) = (going.id, &going.cause);
            let (told, ended) = (going.told, going.ended);
            return Some(format!(
                "{id} is still going ({cause}; told: {told}, ended: {ended})"
            ));
        }
        let services = self.tables.services.values();
        services
            .filter_map(|row| self.unrest_of_service(row))
            .next()
            .or_else(|| self.unrest_of_nodes())
            .or_else(|| self.unrest_of_containers())
            .or_else(|| self.unrest_of_builds())
            .or_else(|| self.unrest_of_rollout())
            .or_else(|| self.unrest_of_orphans())
    }

    fn unrest_of_service(&self, row: &ServiceRow) -> Option<String> {
        let service = self.tables.service(row.id)?;
        let wanted = service.current.filter(|_| row.active && !row.deleted);
        let here = |i: &&InstanceRow| i.service == row.id && !i.stopped();
        let instances: Vec<&InstanceRow> = self.tables.instances.values().filter(here).collect();
        let mut ready: BTreeMap<&Name, u32> = BTreeMap::new();
        for instance in &instances {
            if Some(instance.deployment) != wanted {
                return Some(format!("{} of {} is left over", instance.id, row.id));
            }
            if !instance.status.ready {
                return Some(format!("{} of {} is not ready", instance.id, row.id));
            }
            *ready.entry(&instance.region).or_default() += 1;
        }
        let shall = wanted
            .map(|_| self.tables.replicas(&row.spec))
            .unwrap_or_default();
        let is: BTreeMap<Name, u32> = ready.into_iter().map(|(r, n)| (r.clone(), n)).collect();
        if is != shall {
            return Some(format!(
                "{} has {is:?} ready instances, not {shall:?}",
                row.id
            ));
        }
        let routed = wanted
            .filter(|_| row.spec.kind == ServiceKind::Web)
            .is_some();
        self.unrest_of_routes(row.id, routed, &instances)
    }

    fn unrest_of_routes(
        &self,
        service: ServiceId,
        routed: bool,
        instances: &[&InstanceRow],
    ) -> Option<String> {
        for edge in &self.edges {
            let shall: BTreeSet<InstanceId> = instances
                .iter()
                .filter(|i| routed && i.region == edge.region)
                .map(|i| i.id)
                .collect();
            let running = edge.edge.as_ref()?;
            if running.keeps_route_of(service) {
                if self.let_go.get(&service) == Some(&self.tables.platform.epoch) {
                    let index = edge.index;
                    return Some(format!("edge {index} keeps an old route of {service}"));
                }
                continue;
            }
            let pool = running.table.service(service).cloned();
            let is: BTreeSet<InstanceId> = pool
                .iter()
                .flat_map(|pool| pool.endpoints())
                .map(|endpoint| endpoint.spec.instance_id)
                .collect();
            if is != shall {
                let index = edge.index;
                return Some(format!(
                    "edge {index} routes {service} to {is:?}, not {shall:?}"
                ));
            }
        }
        None
    }

    fn unrest_of_nodes(&self) -> Option<String> {
        for (id, peer) in &self.peers {
            for feed in self.feeds_of(*peer) {
                let applied = self.applied(*peer, &feed).map(|commit| commit.position());
                let head = self.tables.position(&feed);
                if applied != Some(head) {
                    return Some(format!("{peer:?} has {applied:?} of {feed}, not {head}"));
                }
            }
            let row = self.tables.nodes.get(id)?;
            if row.is_late() {
                return Some(format!("{peer:?} is late"));
            }
        }
        let overdue = self.certificates.as_ref()?.overdue(self.now)?;
        Some(format!("{overdue:?} works by a certificate that has ended"))
    }

    /// The newest version is everywhere, or was stopped because edges can't use it and is nowhere.
    fn unrest_of_rollout(&self) -> Option<String> {
        let rollout = &self.tables.rollout.newest;
        let (version, newest) = (rollout.version, self.newest_program());
        let is_good = Quality::of(version) == Quality::Good;
        if version != newest
            || rollout.state
                != if is_good {
                    Progress::Done
                } else {
                    Progress::Stopped
                }
        {
            let state = rollout.state.as_str();
            return Some(format!("version {version} of {newest} is {state}"));
        }
        for (ring, row) in &self.tables.rollout.rings {
            if row.rendered_at.is_none() || (row.version == version) != is_good {
                return Some(format!("{ring} is at {row:?}"));
            }
        }
        let edges = self.edges.iter();
        edges
            .filter_map(|edge| self.unrest_of_rendering(edge))
            .next()
    }

    fn unrest_of_rendering(&self, edge: &EdgeNode) -> Option<String> {
        let is = edge.edge.as_ref()?.versions()?;
        let shall = self.tables.rollout.rings.get(&edge.ring)?.version;
        (is != (shall, shall))
            .then(|| format!("edge {} has versions {is:?}, not {shall}", edge.index))
    }

    /// Every build has ended, and no node has any.
    fn unrest_of_builds(&self) -> Option<String> {
        let open = self.tables.open_builds(self.now);
        if let Some(build) = open.first() {
            let (id, node, finished) = (build.id, build.node, build.finished);
            return Some(format!(
                "{id} is open (node: {node:?}, finished: {finished})"
            ));
        }
        for node in &self.nodes {
            let reports = node.agent.as_ref()?.builder.queue.reports();
            if let Some(report) = reports.first() {
                return Some(format!("agent {} keeps {}", node.index, report.id));
            }
        }
        None
    }

    /// A container that runs is in the plan, or is reported as an orphan.
    fn unrest_of_containers(&self) -> Option<String> {
        for node in &self.nodes {
            for container in node.containers.values() {
                let id = container.seen.labels.instance;
                let planned = self.tables.instances.get(&id).filter(|row| !row.stopped());
                let orphan = self.tables.orphans.contains_key(&(node.id, id));
                if planned.is_none() && !orphan {
                    let peer = Peer::Agent(node.index);
                    return Some(format!("{id} is left on {peer:?}"));
                }
            }
        }
        None
    }

    /// What somebody has let go has ended, also where its agent has no document with it.
    fn unrest_of_orphans(&self) -> Option<String> {
        let let_go = self.tables.orphans.iter();
        let mut let_go = let_go.filter(|(_, row)| row.let_go_at.is_some());
        let ((node, id), _) = let_go.next()?;
        Some(format!("{id} on {node} was let go and runs on"))
    }
}
