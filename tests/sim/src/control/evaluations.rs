//! Answers evaluations with the real scheduler; writes the plan with a compare-and-set per node.

use std::collections::{BTreeMap, BTreeSet};

use control_plane::{
    feed::{instance, route::Changes},
    reconcile::evaluations::{question, wanted},
    store::{
        evaluation::Shortage,
        feed::Change,
        placement::{Release, Service},
    },
};
use domain::{
    id::{DeploymentId, InstanceId, NodeId},
    name::Name,
    spec::Strategy,
};
use protocol::feed::FeedName;
use scheduler::{Evaluation, Exhausted, Liveness, Placement, Plan, Snapshot};

use super::{Prepared, Task, orphans::Adoption};
use crate::{
    fault::Fault,
    table::{Claim, NewInstance},
    trace::Note,
    world::World,
};

/// Evaluations answered at once; in production they are answered one after the other, but by every
/// replica that takes the lease over.
const TURN_MAX: usize = 4;

/// A plan that is about to be written.
#[derive(Debug)]
pub struct Answer {
    claim: Claim,
    locked: u64,
    service: Option<Service>,
    releases: Vec<Release>,
    adoptions: Vec<Adoption>,
    plan: Plan,
}

impl Answer {
    pub(super) fn writes_routes(&self) -> bool {
        let stopped = self.service.as_ref().is_some_and(|service| !service.active);
        stopped || !self.plan.stops.is_empty()
    }
}

impl World {
    pub(super) fn turn_evaluations(&mut self, replica: usize) {
        // After a restore agents say first what they run.
        let waits = self.fault != Some(Fault::OrphansNotWaitedFor);
        if waits && self.tables.is_settling(self.now) {
            return;
        }
        for service in self.tables.revive_evaluations(false, self.now) {
            self.evaluate(service);
        }
        let holder = self.replicas[replica].holder;
        for order in 0..TURN_MAX {
            let Some(claim) = self.tables.claim_evaluation(holder, self.now) else {
                return;
            };
            let answer = self.answer(claim);
            self.commit_later(replica, order, Prepared::Answer(Box::new(answer)));
        }
        self.wake(Task::Evaluations);
    }

    fn answer(&mut self, claim: Claim) -> Answer {
        let locked = self.locked(claim.service);
        let mut service = self.tables.service(claim.service);
        if let Some(service) = service.as_mut().filter(|service| !service.active) {
            (service.current, service.routed) = (None, None);
        }
        let mut answer = Answer {
            claim,
            locked,
            service: None,
            releases: Vec::new(),
            adoptions: Vec::new(),
            plan: Plan::default(),
        };
        let Some(service) = service else {
            return answer;
        };
        let releases = wanted(&service).into_iter();
        answer.releases = releases
            .filter_map(|id| self.tables.release_of(id))
            .collect();
        let mut snapshot = Snapshot {
            nodes: self.tables.scheduler_nodes(self.now),
            instances: self.tables.scheduler_instances(service.id),
        };
        let replicas: BTreeMap<Name, u32> = self.tables.replicas(&service.spec);
        self.checker.wanted(service.id, &replicas);
        let releases = &answer.releases;
        answer.adoptions = self.adoptions(&service, releases, &replicas, &mut snapshot);
        let mut question = question(&service, &answer.releases, &replicas);
        self.mistake(&mut snapshot, &mut question);
        answer.plan = scheduler::plan(&snapshot, &question);
        self.checker.planned(&self.tables, &answer.plan);
        self.check_adoptions(&answer.adoptions, &answer.plan);
        answer.service = Some(service);
        answer
    }

    /// What a planted mistake tells the scheduler.
    fn mistake(&self, snapshot: &mut Snapshot, question: &mut Evaluation) {
        let lost = snapshot.nodes.iter_mut();
        let lost = lost.filter(|node| node.liveness == Liveness::Lost);
        match self.fault {
            Some(Fault::LostIsGone) => lost.for_each(|node| node.liveness = Liveness::Gone),
            Some(Fault::LostAloneIsReplaced) => {
                let lost: BTreeSet<NodeId> = lost.map(|node| node.id).collect();
                let instances = || snapshot.instances.iter();
                // Two versions at once would be another mistake.
                if let [goal] = &mut question.goals[..]
                    && instances().all(|one| one.deployment_id == goal.deployment_id)
                    && instances().any(|one| lost.contains(&one.node_id))
                {
                    goal.strategy = Strategy::Rolling;
                }
            }
            _ => {}
        }
    }

    pub(super) fn commit_answer(&mut self, replica: usize, mut answer: Answer) {
        let claim = answer.claim;
        if !self.lock(replica, claim.service, answer.locked) {
            // It would have waited for the row, and read what is there now.
            let answer = self.answer(claim);
            self.commit_later(replica, 0, Prepared::Answer(Box::new(answer)));
            return;
        }
        let shortages = answer.plan.exhausted.iter().map(shortage).collect();
        if let Some(service) = &answer.service {
            if !service.active {
                self.tables.take_down(service.id);
                self.write_routes(service.id);
            }
            self.adopt_orphans(std::mem::take(&mut answer.adoptions));
            self.write_plan(service, &answer);
        }
        self.tables.finish_evaluation(claim, shortages, self.now);
        for task in [Task::Instances, Task::Deployments, Task::Evaluations] {
            self.wake(task);
        }
    }

    fn write_plan(&mut self, service: &Service, answer: &Answer) {
        let by_deployment: BTreeMap<DeploymentId, &Release> = answer
            .releases
            .iter()
            .map(|release| (release.deployment, release))
            .collect();
        let mut changes = Changes::new();
        for placement in &answer.plan.placements {
            if let Some(release) = by_deployment.get(&placement.deployment_id) {
                self.write_placement(service, release, placement, &mut changes);
            }
        }
        self.tables.write_feeds(changes);
        for stop in &answer.plan.stops {
            self.tables.stop(stop.instance_id, stop.cause.as_str());
            let cause = stop.cause.as_str().to_owned();
            self.note(Note::Stop(stop.instance_id, cause));
        }
        if !answer.plan.stops.is_empty() {
            self.write_routes(service.id);
        }
    }

    fn write_placement(
        &mut self,
        service: &Service,
        release: &Release,
        placement: &Placement,
        changes: &mut Changes,
    ) {
        let id = InstanceId::from(self.random.uuid(self.now));
        let compared = self.fault != Some(Fault::CapacityOutsideCompareAndSet);
        let new = NewInstance {
            id,
            service: service.id,
            deployment: release.deployment,
            release: release.id,
            node: placement.node_id,
            amount: placement.resources,
        };
        if !self.tables.place(new, compared) {
            self.evaluate(service.id);
            return;
        }
        self.checker.placed(&self.tables, placement.node_id);
        let index = self.index_of(placement.node_id);
        self.note(Note::Placed(id, service.id, index));
        let hostname = self.tables.services.get(&service.id);
        let hostname = hostname.map(|row| row.hostname.as_str());
        let item = instance::serving(service, release, id, &placement.region, hostname);
        if let Ok((item, secrets)) = instance::render(item) {
            let change = Change::Put {
                id: instance::item_id(id),
                item,
                secrets,
            };
            let feed = FeedName::Node(placement.node_id);
            changes.entry(feed).or_default().push(change);
        }
    }
}

fn shortage(exhausted: &Exhausted) -> Shortage {
    Shortage {
        deployment_id: exhausted.deployment_id,
        region: exhausted.region.to_string(),
        missing: exhausted.missing,
        explanation: exhausted.explanation.clone(),
    }
}
