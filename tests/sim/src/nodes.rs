//! What happens on machines that run workloads.

use std::sync::Arc;

use agent::{
    health::Verdict,
    reconcile::{Action, Outcome},
    runtime::Phase,
};
use chrono::{DateTime, Utc};
use domain::{id::InstanceId, name::Name, spec::Strategy};
use protocol::{feed::FeedName, item::InstanceItem, report::Problem};
use scheduler::StopCause;

use crate::{
    clock::{Millis, SECOND},
    fault::Fault,
    invariant::Invariant,
    network::Peer,
    node::Program,
    trace::Note,
    world::{Event, World},
};

/// A program that never answers is given up after this long.
const STARTUP: Millis = 40 * SECOND;
/// Of those that containers get.
const FIRST_PORT: u16 = 20_000;

impl World {
    /// An agent's process starts: from disk, then it adopts what runs, then it connects.
    pub(crate) fn start_agent(&mut self, index: usize) {
        let (keys, fault, now) = (self.keys.clone(), self.fault, self.now);
        let node = &mut self.nodes[index];
        if node.agent.is_some() {
            return;
        }
        node.start(keys, fault, now);
        let (feed, boot) = (
            FeedName::Node(node.id),
            node.agent.as_ref().map_or(0, |a| a.boot),
        );
        self.run_agent(index);
        self.follow_builds(index);
        let peer = Peer::Agent(index);
        self.after(1, Event::Connect(peer, feed));
        let spread = self.random.between(1, 2 * SECOND);
        self.after(spread, Event::ReportDue(peer, boot, true));
    }

    /// A newer document is on an agent's disk.
    pub(crate) fn document_came(&mut self, index: usize) {
        if let Some(agent) = self.nodes[index].agent.as_mut() {
            agent.take_document(self.fault);
        }
        self.run_agent(index);
        self.follow_builds(index);
        self.report_soon(Peer::Agent(index));
    }

    /// An agent decides again.
    pub(crate) fn wake_agent(&mut self, index: usize, boot: u64, at: Millis) {
        let agent = self.nodes[index].agent.as_ref();
        if agent.is_some_and(|agent| agent.boot == boot && agent.wake == Some(at)) {
            self.run_agent(index);
        }
    }

    fn run_agent(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let wishes = node.reconcile(now);
        let Some(agent) = node.agent.as_mut() else {
            return;
        };
        let boot = agent.boot;
        agent.wake = wishes.wake.map(|at| at.max(now + 1));
        if let Some(at) = agent.wake {
            self.queue.push(at, Event::Wake(index, boot, at));
        }
        for id in wishes.concluded {
            self.note(Note::Action(index, format!("concluded {id}")));
        }
        for (action, item) in wishes.actions {
            self.begin_action(index, boot, action, item);
        }
        for (id, since) in wishes.probes {
            self.begin_probe(index, boot, id, since);
        }
        if wishes.report {
            self.report_soon(Peer::Agent(index));
        }
    }

    fn begin_action(
        &mut self,
        index: usize,
        boot: u64,
        action: Action,
        item: Option<Arc<InstanceItem>>,
    ) {
        self.note(Note::Action(index, format!("{action:?}")));
        let takes = match action {
            Action::Create(_) if self.random.chance(100) => self.random.between(2_000, 12_000),
            Action::Create(_) => self.random.between(100, 1_500),
            Action::Start(_) => self.random.between(50, 400),
            _ => self.random.between(5, 60),
        };
        if let (Action::Signal(id), None) = (action, &item) {
            self.stopping(index, id);
        }
        self.after(takes, Event::Done(index, boot, action, item));
    }

    /// The plan ends a container here: from now on nobody may be sent to it.
    fn stopping(&mut self, index: usize, id: InstanceId) {
        let Some(container) = self.nodes[index].containers.get_mut(&id) else {
            return;
        };
        container.told_to_stop = true;
        let service = container.seen.labels.service;
        if !self.checker.was_told(id) && !self.checker.was_let_go(id) {
            let what = format!("agent {index} ends {id}, which nobody told to stop");
            self.checker.broken(Invariant::Cause, what);
        }
        for edge in 0..self.edges.len() {
            let routes = self.edges[edge].edge.as_ref();
            if routes.is_some_and(|edge| edge.routes_to(service, id)) {
                self.routed_to_stopped(edge, id);
            }
        }
    }

    /// An edge's newest routes lead to an instance that the plan has stopped.
    pub(crate) fn routed_to_stopped(&mut self, edge: usize, id: InstanceId) {
        let forgiven = self.checker.is_tolerated(id) || self.checker.disaster().is_some();
        if !forgiven {
            let what = format!("edge {edge} routes to {id}, which is stopped");
            self.checker.broken(Invariant::Route, what);
        }
    }

    /// An action ends; the engine does it even if the agent that asked is gone.
    pub(crate) fn done(
        &mut self,
        index: usize,
        boot: u64,
        action: Action,
        item: Option<Arc<InstanceItem>>,
    ) {
        let program = item
            .as_ref()
            .map_or(Program::Good, |item| self.program_of(&item.image));
        let (now, id) = (self.now, action.instance());
        let refused = self.random.chance(self.weather.engine_fails);
        let outcome = if refused && !matches!(action, Action::Remove(_)) {
            Outcome::Failed(Problem {
                code: "engine_failed".to_owned(),
                message: "the engine did not answer".to_owned(),
            })
        } else {
            let item = item.as_deref();
            self.nodes[index].perform(action, item, program, &mut self.random, now)
        };
        if self.fault == Some(Fault::PortsNotCompared) {
            self.give_first_port(index, id);
        }
        self.consequences(index, id, &outcome);
        let agent = self.nodes[index].agent.as_mut();
        if let Some(agent) = agent.filter(|agent| agent.boot == boot) {
            agent.settle(id, outcome, now);
        }
        self.run_agent(index);
    }

    /// The planted mistake: it listens where another one may.
    fn give_first_port(&mut self, index: usize, id: InstanceId) {
        let container = self.nodes[index].containers.get_mut(&id);
        if let Some(port) = container.and_then(|container| container.seen.host_port.as_mut()) {
            *port = FIRST_PORT;
        }
    }

    fn consequences(&mut self, index: usize, id: InstanceId, outcome: &Outcome) {
        let Some(container) = self.nodes[index].containers.get(&id) else {
            return;
        };
        let Phase::Running { since } = container.seen.phase else {
            return;
        };
        let crashes = container.program == Program::Crashing;
        match outcome {
            Outcome::Started { .. } if crashes => {
                self.after(SECOND, Event::Exit(index, id, since, 1));
            }
            Outcome::Started { .. } => self.check_alone(id),
            Outcome::Signalled => {
                // A few finish what they have begun for longer than they are given.
                let stubborn = self.random.chance(50);
                let takes = self.random.between(50, 2 * SECOND);
                if !stubborn {
                    self.after(takes, Event::Exit(index, id, since, 143));
                }
            }
            _ => {}
        }
    }

    /// A service that must be alone runs one version only, and nothing of it runs on where it has been replaced.
    fn check_alone(&mut self, id: InstanceId) {
        let Some(row) = self.tables.instances.get(&id) else {
            return;
        };
        let (service, deployment, region) = (row.service, row.deployment, &row.region);
        let spec = self
            .tables
            .services
            .get(&service)
            .map(|row| row.spec.deploy.strategy);
        if spec != Some(Strategy::Recreate) || self.checker.disaster().is_some() {
            return;
        }
        let running = self.nodes.iter().flat_map(|node| node.containers.values());
        let running = running.filter(|container| container.is_running());
        let labels = running.map(|container| container.seen.labels);
        let (same, others): (Vec<_>, Vec<_>) = labels
            .filter(|labels| labels.service == service)
            .partition(|labels| labels.deployment == deployment);
        let (same, most) = (
            same.iter()
                .filter(|labels| self.counts_in(region, labels.instance))
                .count(),
            self.checker.most_wanted(service, region),
        );
        let what = match others.first() {
            Some(other) => format!("{id} and {} of {service} run at once", other.instance),
            None if same > most => {
                format!("with {id}, {same} of {service} run in {region}, and {most} were wanted")
            }
            None => return,
        };
        self.checker.broken(Invariant::Alone, what);
    }

    /// Whether it is one of those wanted there, or another has come in its place.
    fn counts_in(&self, region: &Name, id: InstanceId) -> bool {
        let takes_its_place = [StopCause::Replaced, StopCause::Drain].map(StopCause::as_str);
        let row = self.tables.instances.get(&id);
        row.filter(|row| row.region == *region).is_some_and(|row| {
            let cause = row.stop_cause.as_deref();
            cause.is_none_or(|cause| takes_its_place.contains(&cause))
        })
    }

    /// A program ends, if it is still that run.
    pub(crate) fn exit(&mut self, index: usize, id: InstanceId, since: DateTime<Utc>, code: i64) {
        let container = self.nodes[index].containers.get(&id);
        if container.is_some_and(|c| c.seen.phase == (Phase::Running { since })) {
            self.nodes[index].end(id, code, self.now);
            self.run_agent(index);
        }
    }

    fn begin_probe(&mut self, index: usize, boot: u64, id: InstanceId, since: DateTime<Utc>) {
        let Some(container) = self.nodes[index].containers.get(&id) else {
            return;
        };
        let at = match container.program {
            Program::Mute => self.now + STARTUP,
            _ => container.answers_from.max(self.now) + 50,
        };
        self.queue.push(at, Event::Probe(index, boot, id, since));
    }

    /// A probe's verdict about a run.
    pub(crate) fn probe(&mut self, index: usize, boot: u64, id: InstanceId, since: DateTime<Utc>) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let answers = node.containers.get(&id).is_some_and(|c| c.answers(now));
        let Some(agent) = node.agent.as_mut().filter(|agent| agent.boot == boot) else {
            return;
        };
        if answers {
            agent.judge(id, since, Verdict::Started);
            agent.judge(id, since, Verdict::Ready);
        } else {
            let problem = Problem {
                code: "startup_probe_failed".to_owned(),
                message: "it never answered".to_owned(),
            };
            agent.judge(id, since, Verdict::Dead(problem));
        }
        self.run_agent(index);
    }

    pub(crate) fn program_of(&self, image: &str) -> Program {
        self.programs.get(image).copied().unwrap_or(Program::Good)
    }

    /// A machine loses its power.
    pub(crate) fn lose_power(&mut self, index: usize) {
        let now = self.now;
        self.nodes[index].lose_power(now);
    }
}
