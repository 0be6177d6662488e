//! The promises of the reconciler: first of [`decide`] alone against a model of an engine, with time
//! that the test turns; then of the shell with a fake engine.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use chrono::{TimeDelta, Utc};
use domain::{
    id::{DeploymentId, EnvironmentId, InstanceId, OrganizationId, ReleaseId, ServiceId},
    instance::{Desired as Wish, State},
    quantity::Span,
    spec::{Confinement, Probe, Resources, StopSignal},
};
use proptest::prelude::*;
use protocol::{
    item::{InstanceItem, RunMode},
    report::Problem,
};

use super::*;
use crate::{
    health::Verdict,
    restart,
    runtime::{Container, Labels},
};

mod shell;

pub(super) fn item(run: RunMode) -> InstanceItem {
    InstanceItem {
        id: InstanceId::new(),
        desired: Wish::Run,
        organization_id: OrganizationId::new(),
        environment_id: EnvironmentId::new(),
        service_id: ServiceId::new(),
        service_name: "web".parse().unwrap(),
        release_id: ReleaseId::new(),
        deployment_id: DeploymentId::new(),
        image: "registry.test/org/svc@sha256:00".to_owned(),
        command: None,
        environment: BTreeMap::new(),
        port: Some(8080),
        resources: Resources::default(),
        confinement: Confinement::Restricted,
        run,
        stop_signal: StopSignal::Sigterm,
        draining: Span::seconds(30),
        traceparent: None,
    }
}

pub(super) fn service() -> RunMode {
    let probe = Probe {
        path: None,
        interval: Span::seconds(2),
        timeout: Span::seconds(1),
        failures: 3,
    };
    RunMode::Service {
        startup: Some(probe.clone()),
        readiness: Some(probe.clone()),
        liveness: Some(probe),
    }
}

fn once() -> RunMode {
    RunMode::Once {
        timeout: Span::seconds(60),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u32),
    /// The program ends by itself.
    Exit(i64),
    /// What the document says.
    Want(Wanted),
    /// Someone removes the container by hand.
    Lost,
    /// The agent starts again and has only what the disk remembers.
    AgentRestarts,
    Probe(bool),
    /// The engine refuses actions from now on, or takes them.
    EngineRefuses(bool),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    Run,
    Stop,
    /// No document yet.
    Unknown,
}

/// A model of one engine and one instance, in the test's own time.
struct Model {
    item: Arc<InstanceItem>,
    wanted: Wanted,
    clock: Clock,
    container: Option<Container>,
    stubborn: bool,
    refuses: bool,
    agent: BTreeMap<InstanceId, Instance>,
    /// Ends in a row, and the time of the last.
    ends: u32,
    ended_at: Option<Instant>,
    starts: u32,
}

impl Model {
    fn new(run: RunMode, stubborn: bool) -> Self {
        let item = Arc::new(item(run));
        let clock = Clock {
            now: Instant::now(),
            wall: Utc::now(),
        };
        let mut model = Self {
            agent: [(item.id, Instance::new(Record::new(&item)))].into(),
            item,
            wanted: Wanted::Run,
            clock,
            container: None,
            stubborn,
            refuses: false,
            ends: 0,
            ended_at: None,
            starts: 0,
        };
        model.settle();
        model
    }

    fn instance(&mut self) -> &mut Instance {
        self.agent.get_mut(&self.item.id).unwrap()
    }

    fn phase(&self) -> Option<Phase> {
        self.container.as_ref().map(|container| container.phase)
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Wait(seconds) => self.wait(*seconds),
            Step::Exit(code) => self.end(*code),
            Step::Want(wanted) => self.wanted = *wanted,
            Step::Lost => self.container = None,
            Step::AgentRestarts => {
                let record = self.instance().record.clone();
                *self.instance() = Instance::new(record);
            }
            Step::Probe(passes) => self.probe(*passes),
            Step::EngineRefuses(refuses) => self.refuses = *refuses,
        }
        self.settle();
    }

    fn wait(&mut self, seconds: u32) {
        self.clock.now += Duration::from_secs(seconds.into());
        self.clock.wall += TimeDelta::seconds(seconds.into());
    }

    fn probe(&mut self, passes: bool) {
        let Some(Phase::Running { since }) = self.phase() else {
            return;
        };
        let verdicts = if passes {
            vec![Verdict::Started, Verdict::Ready]
        } else {
            vec![Verdict::Dead(problem("liveness_probe_failed"))]
        };
        for verdict in verdicts {
            self.instance().judge(since, verdict);
        }
    }

    /// Decides and acts until nothing is left to do now.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.observe();
            let actions = decide(&View {
                now: self.clock.now,
                instances: &self.agent,
            });
            assert!(actions.len() <= 1, "one action at a time: {actions:?}");
            let Some(action) = actions.first() else {
                return;
            };
            self.check(*action);
            self.apply(*action);
        }
        panic!("retried hot: it does not settle");
    }

    fn observe(&mut self) {
        let (container, clock) = (self.container.clone(), self.clock);
        let goal = match self.wanted {
            Wanted::Run => Goal::Run(Arc::clone(&self.item)),
            Wanted::Stop => Goal::Stop,
            Wanted::Unknown => Goal::Leave,
        };
        self.instance().goal = goal;
        self.instance().observe(container, clock);
    }

    /// What may never be done.
    fn check(&mut self, action: Action) {
        let now = self.clock.now;
        let given_up = self.instance().given_up(now);
        assert_ne!(
            self.wanted,
            Wanted::Unknown,
            "{action:?} without a document"
        );
        match action {
            Action::Create(_) => assert!(self.container.is_none(), "a second container"),
            Action::Signal(_) | Action::Kill(_) => {
                assert!(
                    self.wanted == Wanted::Stop || given_up,
                    "{action:?} without cause"
                );
            }
            Action::Remove(_) => assert_eq!(self.wanted, Wanted::Stop, "removed without cause"),
            Action::Start(_) => {
                if let (Some(ended_at), Some(Phase::Ended { .. })) = (self.ended_at, self.phase()) {
                    assert!(
                        now >= ended_at + restart::after_exit(self.ends),
                        "restarted hot"
                    );
                }
            }
            Action::Conclude(_) => {
                assert!(
                    !matches!(self.phase(), Some(Phase::Running { .. })),
                    "it runs"
                );
            }
        }
    }

    fn apply(&mut self, action: Action) {
        let clock = self.clock;
        if let Action::Conclude(_) = action {
            self.instance().conclude(clock);
            return;
        }
        self.instance().begin(action);
        let outcome = if self.refuses {
            Outcome::Failed(problem("engine_failed"))
        } else {
            self.done(action)
        };
        self.instance().settle(outcome, clock);
    }

    fn done(&mut self, action: Action) -> Outcome {
        match action {
            Action::Create(_) => {
                self.container = Some(Container {
                    labels: Labels::from(self.item.as_ref()),
                    phase: Phase::Created,
                    image_digest: None,
                    ip: None,
                    host_port: Some(20_000),
                });
                Outcome::Created
            }
            Action::Start(_) => {
                let again = matches!(self.phase(), Some(Phase::Ended { .. }));
                self.starts += 1;
                self.set_phase(Phase::Running {
                    since: self.clock.wall,
                });
                Outcome::Started { again }
            }
            Action::Signal(_) => {
                if !self.stubborn {
                    self.end(143);
                }
                Outcome::Signalled
            }
            Action::Kill(_) => {
                self.end(137);
                Outcome::Killed
            }
            Action::Remove(_) | Action::Conclude(_) => {
                self.container = None;
                Outcome::Removed
            }
        }
    }

    fn set_phase(&mut self, phase: Phase) {
        self.container.as_mut().unwrap().phase = phase;
    }

    fn end(&mut self, exit_code: i64) {
        let Some(Phase::Running { since }) = self.phase() else {
            return;
        };
        // Two ends at the same instant would look like one.
        self.wait(1);
        let steady = (self.clock.wall - since).to_std().unwrap() >= restart::STEADY;
        self.ends = if steady { 1 } else { self.ends + 1 };
        self.ended_at = Some(self.clock.now);
        self.set_phase(Phase::Ended {
            since,
            at: self.clock.wall,
            exit_code,
            out_of_memory: false,
        });
    }
}

fn problem(code: &str) -> Problem {
    Problem {
        code: code.to_owned(),
        message: String::new(),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u32..1000).prop_map(Step::Wait),
        3 => prop_oneof![Just(0), Just(1), Just(137)].prop_map(Step::Exit),
        1 => prop_oneof![Just(Wanted::Run), Just(Wanted::Run), Just(Wanted::Unknown), Just(Wanted::Stop)].prop_map(Step::Want),
        1 => Just(Step::Lost),
        1 => Just(Step::AgentRestarts),
        2 => any::<bool>().prop_map(Step::Probe),
        1 => any::<bool>().prop_map(Step::EngineRefuses),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn a_service_settles_on_what_is_wanted(steps in steps(), stubborn: bool, wanted in prop_oneof![Just(Wanted::Run), Just(Wanted::Stop)]) {
        let mut model = Model::new(service(), stubborn);
        let mut state = State::Assigned;
        for step in &steps {
            model.take(step);
            let reached = model.instance().record.state;
            prop_assert!(reached >= state, "a state went back");
            state = reached;
        }
        let final_already = state == State::Stopped;
        model.take(&Step::EngineRefuses(false));
        model.take(&Step::Want(wanted));
        for _ in 0..6 {
            model.take(&Step::Wait(901));
        }
        let running = matches!(model.phase(), Some(Phase::Running { .. }));
        if wanted == Wanted::Stop {
            prop_assert_eq!(model.phase(), None);
            prop_assert_eq!(model.instance().record.state, State::Stopped);
        } else {
            prop_assert!(running || final_already);
        }
    }

    #[test]
    fn a_command_never_runs_twice(steps in steps(), stubborn: bool) {
        let mut model = Model::new(once(), stubborn);
        for step in &steps {
            model.take(step);
            prop_assert!(model.starts <= 1, "started {} times", model.starts);
        }
    }
}

#[test]
fn a_command_ends_with_its_exit_code_and_stays_until_its_item_goes() {
    let mut model = Model::new(once(), false);
    model.take(&Step::Exit(3));
    let report = model.report();
    assert_eq!((report.state, report.exit_code), (State::Stopped, Some(3)));
    assert_eq!(report.problem.unwrap().code, "exited");
    assert!(model.container.is_some());
    model.take(&Step::Want(Wanted::Stop));
    assert!(model.container.is_none());
}

#[test]
fn a_command_that_runs_too_long_is_ended_and_says_so() {
    let mut model = Model::new(once(), true);
    model.take(&Step::Wait(61));
    model.take(&Step::Wait(31));
    let report = model.report();
    assert_eq!(
        (report.state, report.exit_code),
        (State::Stopped, Some(137))
    );
    assert_eq!(report.problem.unwrap().code, "timed_out");
}

#[test]
fn a_crash_loop_is_reported_with_its_exit_code_and_waits() {
    let mut model = Model::new(service(), false);
    for _ in 0..4 {
        model.take(&Step::Exit(1));
    }
    let report = model.report();
    assert_eq!((report.restarts, report.exit_code), (3, Some(1)));
    assert!(report.problem.unwrap().message.contains("again in 30 s"));
    assert!(matches!(model.phase(), Some(Phase::Ended { .. })));
    model.take(&Step::Wait(30));
    assert!(matches!(model.phase(), Some(Phase::Running { .. })));
}

#[test]
fn a_dead_program_is_restarted_and_not_ready_meanwhile() {
    let mut model = Model::new(service(), true);
    model.take(&Step::Probe(true));
    assert!(model.report().ready);
    model.take(&Step::Probe(false));
    let report = model.report();
    assert_eq!((report.ready, report.state), (false, State::Running));
    assert_eq!(report.problem.unwrap().code, "liveness_probe_failed");
    model.take(&Step::Wait(30));
    assert_eq!(model.report().restarts, 1);
}

#[test]
fn a_draining_instance_gets_its_grace_and_no_more() {
    let mut model = Model::new(service(), true);
    model.take(&Step::Want(Wanted::Stop));
    assert_eq!(model.report().state, State::Draining);
    model.take(&Step::Wait(29));
    assert_eq!(model.report().state, State::Draining);
    model.take(&Step::Wait(1));
    assert_eq!(model.report().state, State::Stopped);
    assert_eq!(model.phase(), None);
}

#[test]
fn ready_stands_across_a_restart_of_the_agent() {
    let mut model = Model::new(service(), false);
    model.take(&Step::Probe(true));
    model.take(&Step::AgentRestarts);
    let report = model.report();
    assert!(report.ready && report.address.is_some());
    let id = model.item.id;
    assert!(model.instance().probed_run(id).unwrap().started);
}

impl Model {
    fn report(&mut self) -> protocol::report::InstanceReport {
        let id = self.item.id;
        self.instance().report(id, [127, 0, 0, 1].into())
    }
}
