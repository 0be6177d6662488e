//! A model of one engine and one instance, in time that the test turns.

use super::*;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Wait(u32),
    /// Somebody sets the clock on the wall, so many seconds on or back.
    ClockIsSet(i64),
    /// The program ends by itself.
    Exit(i64),
    /// It does while the engine is away.
    ExitUnseen(i64),
    /// The engine is away for a moment.
    EngineIsAway,
    /// What the document says.
    Want(Wanted),
    /// Someone removes the container by hand.
    Lost,
    /// The agent starts again and has only what the disk remembers.
    AgentRestarts,
    Probe(bool),
    /// The startup probe does not pass yet.
    StartupFails,
    /// The engine refuses actions from now on, or takes them.
    EngineRefuses(bool),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wanted {
    Run,
    Stop,
    /// No document yet.
    Unknown,
}

/// A model of one engine and one instance, in the test's own time.
pub(super) struct Model {
    pub(super) item: Arc<InstanceItem>,
    wanted: Wanted,
    clock: Clock,
    pub(super) container: Option<Container>,
    stubborn: bool,
    refuses: bool,
    /// The engine ends during the next start, before it has noted that the program has begun.
    cuts_off: bool,
    agent: BTreeMap<InstanceId, Instance>,
    /// Ends in a row, and the time of the last.
    ends: u32,
    ended_at: Option<Instant>,
    pub(super) starts: u32,
}

impl Model {
    pub(super) fn new(run: RunMode, stubborn: bool) -> Self {
        Self::with(run, stubborn, false)
    }

    /// With a first start that the engine's end may cut off.
    pub(super) fn with(run: RunMode, stubborn: bool, cuts_off: bool) -> Self {
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
            cuts_off,
            ends: 0,
            ended_at: None,
            starts: 0,
        };
        model.settle();
        model
    }

    pub(super) fn instance(&mut self) -> &mut Instance {
        self.agent.get_mut(&self.item.id).unwrap()
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.container.as_ref().map(|container| container.phase)
    }

    pub(super) fn take(&mut self, step: &Step) {
        match step {
            Step::Wait(seconds) => self.wait(*seconds),
            Step::ClockIsSet(seconds) => self.clock.wall += TimeDelta::seconds(*seconds),
            Step::Exit(code) => self.end(*code),
            Step::ExitUnseen(code) => {
                self.instance().lose_sight();
                self.end(*code);
            }
            Step::EngineIsAway => self.instance().lose_sight(),
            Step::Want(wanted) => self.wanted = *wanted,
            Step::Lost => self.container = None,
            Step::AgentRestarts => {
                let record = self.instance().record.clone();
                *self.instance() = Instance::new(record);
            }
            Step::Probe(true) => self.probe(&[Verdict::Started, Verdict::Ready]),
            Step::Probe(false) => self.probe(&[Verdict::Dead(problem("liveness_probe_failed"))]),
            Step::StartupFails => {
                self.probe(&[Verdict::Starting(problem("startup_probe_failing"))]);
            }
            Step::EngineRefuses(refuses) => self.refuses = *refuses,
        }
        self.settle();
    }

    fn wait(&mut self, seconds: u32) {
        self.clock.now += Duration::from_secs(seconds.into());
        self.clock.wall += TimeDelta::seconds(seconds.into());
    }

    fn probe(&mut self, verdicts: &[Verdict]) {
        let Some(Phase::Running { since }) = self.phase() else {
            return;
        };
        for verdict in verdicts {
            self.instance().judge(since, verdict.clone());
        }
    }

    /// Decides and acts until nothing is left to do now.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.observe();
            let actions = decide(&View {
                now: self.clock.now,
                instances: &self.agent,
                starts_from: None,
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
            Wanted::Run => self.agent[&self.item.id].goal_by(&self.item),
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
        let ends = self.wanted == Wanted::Stop || self.instance().record.state == State::Draining;
        assert_ne!(
            self.wanted,
            Wanted::Unknown,
            "{action:?} without a document"
        );
        match action {
            Action::Create(_) => assert!(self.container.is_none(), "a second container"),
            Action::Signal(_) | Action::Kill(_) => {
                assert!(ends || given_up, "{action:?} without cause");
            }
            Action::Remove(_) => assert!(ends, "removed without cause"),
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
                    published: None,
                });
                Outcome::Created
            }
            Action::Start(_) => {
                let again = matches!(self.phase(), Some(Phase::Ended { .. }));
                self.starts += 1;
                if std::mem::take(&mut self.cuts_off) {
                    self.set_phase(Phase::CutOff);
                    return Outcome::Failed(problem("engine_failed"));
                }
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

    pub(super) fn end(&mut self, exit_code: i64) {
        let Some(Phase::Running { since }) = self.phase() else {
            return;
        };
        // Two ends at the same instant would look like one.
        self.wait(1);
        let steady = (self.clock.wall - since) >= TimeDelta::from_std(restart::STEADY).unwrap();
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

impl Model {
    pub(super) fn report(&mut self) -> protocol::report::InstanceReport {
        let id = self.item.id;
        self.instance().report(id, [127, 0, 0, 1].into())
    }
}
