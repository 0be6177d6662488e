//! The thin shell around [`decide`]: takes in documents, what the engine tells, probe verdicts and
//! outcomes; starts actions; publishes what is seen. Order at the start: what the disk remembers →
//! what runs → decisions. The control plane has no part in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use domain::{
    id::InstanceId,
    instance::{Desired as Wish, State},
};
use protocol::log::LogSource;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
};

use super::{
    Action, Clock, Context, Goal, Instance, Outcome, Record, View, decide, ledger::Ledger, wake_at,
};
use crate::{
    desired::{Desired, Wanted},
    disk,
    health::{Event, Prober},
    logs::Logs,
    runtime::Container,
};

mod engine;
mod observed;
mod watchers;

pub use observed::Observed;

use engine::{Engine, News};
use watchers::Watchers;

/// The engine is asked this often even if it says nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// And this often while it does not answer.
const LOOK_AGAIN_WHEN_LOST: Duration = Duration::from_secs(1);
/// A stopped instance stays in reports this long after its item is gone.
const KEPT_AFTER_STOP: TimeDelta = TimeDelta::minutes(10);

/// The reconciler of one node.
pub struct Shell {
    context: Arc<Context>,
    ledger: Ledger,
    instances: BTreeMap<InstanceId, Instance>,
    desired: watch::Receiver<Option<Arc<Desired>>>,
    observed: watch::Sender<Arc<Observed>>,
    actions: JoinSet<(InstanceId, Outcome)>,
    verdicts: mpsc::Receiver<Event>,
    watchers: Watchers,
    logs: Logs,
    engine: Engine,
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
        let remembered = ledger.records().iter();
        let (observed, receiver) = watch::channel(Arc::default());
        let (watchers, verdicts) =
            Watchers::new(Arc::clone(&context.runtime), logs.clone(), prober);
        let mut shell = Self {
            instances: remembered
                .map(|(id, record)| (*id, Instance::new(record.clone())))
                .collect(),
            engine: Engine::new(Arc::clone(&context.runtime)),
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

    /// Reconciles until the task is dropped. Containers run on then.
    pub async fn run(mut self) {
        self.engine.look();
        loop {
            self.wait().await;
            self.act();
            self.save();
            self.publish();
        }
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
            News::Containers(containers) => self.observe(containers),
            News::Lost => {}
        }
    }

    fn observe(&mut self, containers: Vec<Container>) {
        let clock = Clock::read();
        let mut seen: BTreeMap<InstanceId, Container> = containers
            .into_iter()
            .map(|container| (container.labels.instance, container))
            .collect();
        for (id, container) in &seen {
            self.instances
                .entry(*id)
                .or_insert_with(|| Instance::new(Record::adopted(&container.labels)));
        }
        for (id, instance) in &mut self.instances {
            let counted = instance.record.counted_end;
            instance.observe(seen.remove(id), clock);
            if instance.record.counted_end != counted {
                let exit_code = instance.record.exit_code;
                tracing::info!(instance = %id, exit_code, "a container has ended");
            }
        }
        self.instances
            .retain(|_, instance| !is_forgotten(instance, clock));
        self.watchers.tend(&mut self.instances);
        self.end_logs();
    }

    fn act(&mut self) {
        if self.engine.lost || !self.engine.seen {
            return;
        }
        for action in decide(&self.view()) {
            self.begin(action);
        }
    }

    fn begin(&mut self, action: Action) {
        let id = action.instance();
        let held_ports = self.held_ports();
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        tracing::info!(?action, "instance");
        if matches!(action, Action::Conclude(_)) {
            instance.conclude(Clock::read());
            return;
        }
        instance.begin(action);
        let done = Arc::clone(&self.context).apply(action, instance.clone(), held_ports);
        self.actions.spawn(async move { (id, done.await) });
    }

    fn held_ports(&self) -> BTreeSet<u16> {
        let held = |instance: &Instance| instance.container.as_ref()?.host_port;
        self.instances.values().filter_map(held).collect()
    }

    fn take_desired(&mut self) {
        let Some(desired) = self.desired.borrow_and_update().clone() else {
            return;
        };
        for (id, wanted) in &desired.instances {
            let new = || Instance::new(Record::new(&wanted.item));
            want(self.instances.entry(*id).or_insert_with(new), wanted);
        }
        for (id, instance) in &mut self.instances {
            if !desired.instances.contains_key(id) {
                let_go(instance);
            }
        }
        // New instances are decided upon once the engine was asked about them.
        self.engine.look_afresh();
    }

    fn take_outcome(&mut self, done: Result<(InstanceId, Outcome), JoinError>) {
        match done {
            Ok((id, outcome)) => {
                if let Some(instance) = self.instances.get_mut(&id) {
                    instance.settle(outcome, Clock::read());
                }
            }
            Err(error) => tracing::error!(%error, "an action on an instance broke off"),
        }
        self.engine.look_afresh();
    }

    fn take_verdict(&mut self, event: Event) {
        tracing::info!(instance = %event.instance, verdict = ?event.verdict, "probe");
        if let Some(instance) = self.instances.get_mut(&event.instance) {
            instance.judge(event.since, event.verdict);
        }
    }

    fn take_log_end(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.followed = false;
        }
        self.watchers.tend(&mut self.instances);
    }

    fn save(&mut self) {
        let records = self
            .instances
            .iter()
            .map(|(id, instance)| (*id, instance.record.clone()))
            .collect();
        if let Err(error) = self.ledger.save(records) {
            tracing::error!(%error, "what is known of instances can't be remembered");
        }
    }

    fn publish(&self) {
        let next = {
            let desired = self.desired.borrow();
            let seen = self.engine.seen;
            Observed::new(
                &self.instances,
                desired.as_deref(),
                seen,
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
        self.logs.end_others(|source| match source {
            LogSource::Instance(id) => self.instances.get(&id).is_some_and(|instance| {
                instance.container.is_some() || instance.record.state < State::Stopped
            }),
            LogSource::Build(id) => desired
                .as_ref()
                .is_none_or(|desired| desired.builds.contains_key(&id)),
        });
    }

    fn view(&self) -> View<'_> {
        View {
            now: Instant::now(),
            instances: &self.instances,
        }
    }
}

fn want(instance: &mut Instance, wanted: &Wanted) {
    instance.documented_now = true;
    instance.orphaned = wanted.orphaned;
    instance.record.documented = true;
    instance.record.stop_signal = wanted.item.stop_signal;
    instance.record.draining = wanted.item.draining;
    instance.goal = match wanted.item.desired {
        Wish::Run => Goal::Run(Arc::clone(&wanted.item)),
        Wish::Stop => Goal::Stop,
    };
}

/// The newest document lacks it, and `link` has let that pass. What no document ever had runs on.
fn let_go(instance: &mut Instance) {
    instance.documented_now = false;
    instance.orphaned = false;
    instance.goal = if instance.record.documented {
        Goal::Stop
    } else {
        Goal::Leave
    };
}

fn is_forgotten(instance: &Instance, clock: Clock) -> bool {
    let gone = instance.container.is_none() && !instance.busy;
    let rested = instance
        .record
        .stopped_at
        .is_some_and(|at| clock.wall - at >= KEPT_AFTER_STOP);
    gone && (!instance.record.documented || rested && !instance.documented_now)
}
