//! The tasks beside each running container: its probes and the copy of its log.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::id::InstanceId;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use super::super::Instance;
use crate::{
    health::{self, Event, Prober, Run},
    logs::{self, Logs},
    runtime::{Phase, Runtime},
};

const VERDICTS: usize = 256;
/// Before a log that broke off is read again.
const FOLLOW_AGAIN: Duration = Duration::from_millis(200);

pub(super) struct Watchers {
    runtime: Arc<dyn Runtime>,
    logs: Logs,
    prober: Arc<Prober>,
    verdicts: mpsc::Sender<Event>,
    probes: BTreeMap<InstanceId, (Run, AbortOnDropHandle<()>)>,
    followers: JoinSet<InstanceId>,
}

impl Watchers {
    pub(super) fn new(
        runtime: Arc<dyn Runtime>,
        logs: Logs,
        prober: Arc<Prober>,
    ) -> (Self, mpsc::Receiver<Event>) {
        let (verdicts, receiver) = mpsc::channel(VERDICTS);
        let watchers = Self {
            runtime,
            logs,
            prober,
            verdicts,
            probes: BTreeMap::new(),
            followers: JoinSet::new(),
        };
        (watchers, receiver)
    }

    /// One set of probes and one log copy for each run, none for others.
    pub(super) fn tend(&mut self, instances: &mut BTreeMap<InstanceId, Instance>) {
        self.probes.retain(|id, (run, _)| {
            instances
                .get(id)
                .is_some_and(|instance| is_probed(*id, instance, run))
        });
        for (id, instance) in instances {
            self.probe(*id, instance);
            self.follow(*id, instance);
        }
    }

    /// The next log copy that ended.
    pub(super) async fn ended(&mut self) -> Option<InstanceId> {
        match self.followers.join_next().await? {
            Ok(instance) => Some(instance),
            Err(error) => {
                tracing::error!(%error, "the copy of a container's log broke off");
                None
            }
        }
    }

    fn probe(&mut self, id: InstanceId, instance: &Instance) {
        if self.probes.contains_key(&id) {
            return;
        }
        if let Some(run) = instance
            .probed_run(id)
            .filter(|_| instance.ending.is_none())
        {
            let (prober, events) = (Arc::clone(&self.prober), self.verdicts.clone());
            let handle = health::watch(prober, run.clone(), events);
            self.probes.insert(id, (run, handle));
        }
    }

    fn follow(&mut self, id: InstanceId, instance: &mut Instance) {
        let Some(phase) = instance.phase() else {
            return;
        };
        let unread = match phase {
            Phase::Created | Phase::CutOff => false,
            Phase::Running { .. } => true,
            Phase::Ended { at, .. } => instance.read_until != Some(at),
        };
        if instance.followed || !unread {
            return;
        }
        instance.followed = true;
        if let Phase::Ended { at, .. } = phase {
            instance.read_until = Some(at);
        }
        let (runtime, logs) = (Arc::clone(&self.runtime), self.logs.clone());
        self.followers.spawn(async move {
            logs::follow(runtime, logs, id).await;
            tokio::time::sleep(FOLLOW_AGAIN).await;
            id
        });
    }
}

/// Whether these probes still belong to the container's run, wherever the judgement stands now.
fn is_probed(id: InstanceId, instance: &Instance, run: &Run) -> bool {
    let wanted = instance
        .probed_run(id)
        .filter(|_| instance.ending.is_none());
    wanted.is_some_and(|now| {
        Run {
            started: run.started,
            ready: run.ready,
            ..now
        } == *run
    })
}
