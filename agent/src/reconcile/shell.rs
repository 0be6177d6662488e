//! The thin shell around [`decide`]: takes in documents, what the engine tells, probe verdicts and
//! outcomes; starts actions; publishes what is seen. Order at the start: what the disk remembers →
//! what runs → decisions. The control plane has no part in it, but that programs are started a moment later when it
//! can't be heard (`Roster`, docs/adr/0026).

use std::{
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{id::InstanceId, instance::State};
use futures::FutureExt as _;
use protocol::report::Problem;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    Action, Clock, Context, Instance, Outcome, Roster, View, decide, ledger::Ledger, wake_at,
};
use crate::{
    desired::Desired,
    disk,
    health::{Event, Prober},
    logs::{Living, Logs},
    runtime::Container,
};

mod engine;
mod observed;
mod watchers;

pub use observed::{Engine, Observed};

use engine::{News, Questions};
use watchers::Watchers;

/// The engine is asked this often even if it says nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// And this often while it does not answer.
const LOOK_AGAIN_WHEN_LOST: Duration = Duration::from_secs(1);
/// What is under way when the agent is told to end may take so long; the next one takes the rest up.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// The reconciler of one node.
pub struct Shell {
    context: Arc<Context>,
    ledger: Ledger,
    roster: Roster,
    desired: watch::Receiver<Option<Arc<Desired>>>,
    observed: watch::Sender<Arc<Observed>>,
    actions: JoinSet<(InstanceId, Outcome)>,
    verdicts: mpsc::Receiver<Event>,
    watchers: Watchers,
    logs: Logs,
    engine: Questions,
    looked_at: Instant,
}

impl Shell {
    /// With what the disk remembers; nothing is done yet.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn new(
        context: Arc<Context>,
        logs: Logs,
        ledger: PathBuf,
        desired: watch::Receiver<Option<Arc<Desired>>>,
        prober: Arc<Prober>,
    ) -> Result<(Self, watch::Receiver<Arc<Observed>>), disk::Error> {
        let ledger = Ledger::load(ledger)?;
        let roster = Roster::remembered(ledger.records(), Clock::read());
        let (observed, receiver) = watch::channel(Arc::default());
        let (watchers, verdicts) =
            Watchers::new(Arc::clone(&context.runtime), logs.clone(), prober);
        let mut shell = Self {
            roster,
            engine: Questions::new(Arc::clone(&context.runtime)),
            context,
            ledger,
            desired,
            observed,
            actions: JoinSet::new(),
            verdicts,
            watchers,
            logs,
            looked_at: Instant::now(),
        };
        shell.take_desired();
        shell.publish();
        Ok((shell, receiver))
    }

    /// Reconciles until it is told to end, or the task is dropped. Containers run on in both cases.
    pub async fn run(mut self, end: CancellationToken) {
        self.engine.look();
        loop {
            tokio::select! {
                () = self.wait() => {}
                () = end.cancelled() => break,
            }
            self.act();
            self.save();
            self.publish();
        }
        let settled = tokio::time::timeout(SETTLED_WITHIN, self.settle()).await;
        if settled.is_err() {
            let actions = self.actions.len();
            tracing::info!(actions, "the next agent takes up what is under way");
        }
    }

    /// Nothing more is begun; what is under way ends, and the disk and the reports know what came of it.
    async fn settle(&mut self) {
        loop {
            self.save();
            self.publish();
            if self.is_settled() {
                return;
            }
            self.wait().await;
        }
    }

    fn is_settled(&self) -> bool {
        let mut all = self.roster.all().values();
        let is_known = self.engine.lost || all.all(|instance| !instance.stale);
        is_known && self.actions.is_empty() && !self.ledger.is_writing()
    }

    /// Until there is a reason to decide again.
    async fn wait(&mut self) {
        let wake = self.wake_at();
        tokio::select! {
            () = tokio::time::sleep_until(wake.into()) => self.look_if_due(),
            Ok(()) = self.desired.changed() => self.take_desired(),
            news = self.engine.news() => self.take_news(news),
            Some(done) = self.actions.join_next() => self.take_outcome(done),
            Some(event) = self.verdicts.recv() => self.take_verdict(event),
            Some(instance) = self.watchers.ended() => self.take_log_end(instance),
            () = self.ledger.written() => {}
        }
    }

    fn wake_at(&self) -> Instant {
        let look = self.look_due();
        wake_at(&self.view()).map_or(look, |at| at.min(look))
    }

    fn look_due(&self) -> Instant {
        let pause = if self.engine.lost {
            LOOK_AGAIN_WHEN_LOST
        } else {
            LOOK_AGAIN
        };
        self.looked_at + pause
    }

    fn look_if_due(&mut self) {
        if Instant::now() >= self.look_due() {
            self.looked_at = Instant::now();
            self.engine.look();
        }
    }

    fn take_news(&mut self, news: News) {
        self.looked_at = Instant::now();
        match news {
            News::Change => self.engine.look(),
            News::Broken => {
                self.lose_sight();
                self.engine.look();
            }
            News::Containers {
                containers,
                may_be_old,
            } => {
                self.observe(containers);
                if may_be_old {
                    self.lose_sight();
                }
            }
            News::Lost => self.lose_sight(),
        }
    }

    fn lose_sight(&mut self) {
        let all = self.roster.all_mut().values_mut();
        all.for_each(Instance::lose_sight);
    }

    fn observe(&mut self, containers: Vec<Container>) {
        for id in self.roster.observe(containers, Clock::read()) {
            let instance = self.roster.all().get(&id);
            let exit_code = instance.and_then(|instance| instance.record.exit_code);
            tracing::info!(instance = %id, exit_code, "a container has ended");
        }
        self.watchers.tend(self.roster.all_mut());
        self.end_logs();
    }

    /// Nothing is begun while the disk is behind: after a crash, what was done must not be done again.
    fn act(&mut self) {
        if self.engine.lost || !self.engine.seen || self.ledger.is_writing() {
            return;
        }
        for action in decide(&self.view()) {
            self.begin(action);
        }
    }

    fn begin(&mut self, action: Action) {
        let id = action.instance();
        let held_ports = self.roster.held_ports();
        let Some(instance) = self.roster.all_mut().get_mut(&id) else {
            return;
        };
        tracing::info!(?action, "instance");
        if matches!(action, Action::Conclude(_)) {
            instance.conclude(Clock::read());
            return;
        }
        instance.begin(action);
        let done = Arc::clone(&self.context).apply(action, instance.clone(), held_ports);
        let done = AssertUnwindSafe(done).catch_unwind();
        self.actions
            .spawn(async move { (id, done.await.unwrap_or_else(|_| broken_off())) });
    }

    fn take_desired(&mut self) {
        let Some(desired) = self.desired.borrow_and_update().clone() else {
            return;
        };
        self.roster.want(&desired);
        // New instances are decided upon once the engine was asked about them.
        self.engine.look_afresh();
    }

    fn take_outcome(&mut self, done: Result<(InstanceId, Outcome), JoinError>) {
        match done {
            Ok((id, outcome)) => {
                if let Some(instance) = self.roster.all_mut().get_mut(&id) {
                    instance.settle(outcome, Clock::read());
                }
            }
            Err(error) => tracing::error!(%error, "an action on an instance broke off"),
        }
        self.engine.look_afresh();
    }

    fn take_verdict(&mut self, event: Event) {
        tracing::info!(instance = %event.instance, verdict = ?event.verdict, "probe");
        if let Some(instance) = self.roster.all_mut().get_mut(&event.instance) {
            instance.judge(event.since, event.verdict);
        }
    }

    fn take_log_end(&mut self, id: InstanceId) {
        if let Some(instance) = self.roster.all_mut().get_mut(&id) {
            instance.followed = false;
        }
        self.watchers.tend(self.roster.all_mut());
    }

    fn save(&mut self) {
        self.ledger.save(self.roster.records());
    }

    fn publish(&self) {
        let next = {
            let desired = self.desired.borrow();
            let seen = self.engine.seen;
            Observed::new(
                self.roster.all(),
                desired.as_deref(),
                seen,
                self.engine.state(),
                self.context.address,
            )
        };
        self.observed.send_if_modified(|observed| {
            let changed = **observed != next;
            if changed {
                *observed = Arc::new(next);
            }
            changed
        });
    }

    /// Logs of what will never write again are shipped, and go.
    fn end_logs(&self) {
        let desired = self.desired.borrow();
        let all = self.roster.all().iter();
        let writing = all.filter(|(_, instance)| {
            instance.container.is_some() || instance.record.state < State::Stopped
        });
        self.logs.end_others(Living {
            instances: writing.map(|(id, _)| *id).collect(),
            builds: desired
                .as_ref()
                .map(|desired| desired.builds.keys().copied().collect()),
        });
    }

    fn view(&self) -> View<'_> {
        self.roster.view(Clock::read())
    }
}

/// A bug of ours, kept to this instance: were it not told what came of its action, it would wait for that for ever.
fn broken_off() -> Outcome {
    tracing::error!("an action on an instance broke off by a bug in the agent; it is tried again");
    Outcome::Failed(Problem {
        code: "agent_failed".to_owned(),
        message: "a bug in the agent broke the action off; it is tried again".to_owned(),
    })
}
