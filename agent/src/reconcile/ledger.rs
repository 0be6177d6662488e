//! What the agent remembers of each instance across its own restarts. The engine's labels would do
//! to adopt containers; this adds what the engine doesn't know: the state reached, the last
//! judgement of the probes, and how often a container has ended in a row.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use domain::{
    id::{EnvironmentId, InstanceId, ReleaseId, ServiceId},
    instance::State,
    quantity::Span,
    spec::StopSignal,
};
use protocol::{item::InstanceItem, report::Problem};
use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

use crate::{disk, runtime::Labels};

/// What is remembered of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What it is a copy of.
    pub service: ServiceId,
    /// Its version.
    pub release: ReleaseId,
    /// Its network.
    pub environment: EnvironmentId,
    /// The highest state reached.
    pub state: State,
    /// The last judgement of the readiness probe.
    pub ready: bool,
    /// The run whose startup probe has passed.
    pub passed: Option<DateTime<Utc>>,
    /// Restarts in place.
    pub restarts: u32,
    /// Ends in a row, for the backoff.
    pub failures: u32,
    /// The end that was counted last.
    pub counted_end: Option<DateTime<Utc>>,
    /// Of the last end; none when nobody has seen it.
    pub exit_code: Option<i64>,
    /// Why it isn't running or ready.
    pub problem: Option<Problem>,
    /// Published on the node's address.
    pub host_port: Option<u16>,
    /// From the engine.
    pub image_digest: Option<String>,
    /// A container was made once.
    pub launched: bool,
    /// What asks it to end.
    pub stop_signal: StopSignal,
    /// From the stop signal to SIGKILL.
    pub draining: Span,
    /// The newest document has it, or has let it go: else it is an orphan.
    pub documented: bool,
    /// When its state became final.
    pub stopped_at: Option<DateTime<Utc>>,
}

impl Record {
    /// Of an instance that was just placed here.
    #[must_use]
    pub fn new(item: &InstanceItem) -> Self {
        Self {
            stop_signal: item.stop_signal,
            draining: item.draining,
            documented: true,
            ..Self::adopted(&item.into())
        }
    }

    /// Of a container that no document of this node mentions.
    #[must_use]
    pub fn adopted(labels: &Labels) -> Self {
        Self {
            service: labels.service,
            release: labels.release,
            environment: labels.environment,
            state: State::Assigned,
            ready: false,
            passed: None,
            restarts: 0,
            failures: 0,
            counted_end: None,
            exit_code: None,
            problem: None,
            host_port: None,
            image_digest: None,
            launched: false,
            stop_signal: StopSignal::Sigterm,
            draining: Span::seconds(30),
            documented: false,
            stopped_at: None,
        }
    }
}

/// The file. It is written beside the shell, one content at a time: a disk may take seconds.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    written: BTreeMap<InstanceId, Record>,
    writing: Option<AbortOnDropHandle<Written>>,
    /// After a failure: nothing is written before this.
    hold_until: Option<Instant>,
}

type Written = Result<BTreeMap<InstanceId, Record>, disk::Error>;

/// After a failed write.
const TRY_AGAIN: Duration = Duration::from_secs(1);

impl Ledger {
    /// Reads what the last run knew.
    pub(super) fn load(path: PathBuf) -> Result<Self, disk::Error> {
        let written = disk::read(&path)?.unwrap_or_default();
        Ok(Self {
            path,
            written,
            writing: None,
            hold_until: None,
        })
    }

    pub(super) fn records(&self) -> &BTreeMap<InstanceId, Record> {
        &self.written
    }

    /// Begins to write when something differs and nothing is being written.
    pub(super) fn save(&mut self, records: BTreeMap<InstanceId, Record>) {
        let held = self.hold_until.is_some_and(|until| Instant::now() < until);
        if held || self.is_writing() || records == self.written {
            return;
        }
        let path = self.path.clone();
        let write = async move { disk::write(&path, &records).await.map(|()| records) };
        self.writing = Some(AbortOnDropHandle::new(tokio::spawn(write)));
    }

    /// Whether something that is known is not on the disk yet, and may be soon.
    pub(super) const fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// The end of the write under way. Cancel safe.
    pub(super) async fn written(&mut self) {
        let ended = match &mut self.writing {
            Some(writing) => writing.await,
            None => std::future::pending().await,
        };
        self.writing = None;
        self.hold_until = None;
        match ended {
            Ok(Ok(records)) => self.written = records,
            Ok(Err(error)) => self.put_off(&error),
            Err(error) => self.put_off(&error),
        }
    }

    fn put_off(&mut self, error: &dyn std::error::Error) {
        tracing::error!(%error, "what is known of instances can't be remembered");
        self.hold_until = Some(Instant::now() + TRY_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use domain::id::{DeploymentId, EnvironmentId, OrganizationId};
    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    fn records() -> BTreeMap<InstanceId, Record> {
        let labels = Labels {
            instance: InstanceId::new(),
            service: ServiceId::new(),
            environment: EnvironmentId::new(),
            release: ReleaseId::new(),
            organization: OrganizationId::new(),
            deployment: DeploymentId::new(),
        };
        [(labels.instance, Record::adopted(&labels))].into()
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("instances.json");
        // A pipe without a reader lets whoever opens it wait.
        let beside = path.with_extension("new");
        mkfifo(&beside, Mode::S_IRWXU).unwrap();
        let mut ledger = Ledger::load(path.clone()).unwrap();
        ledger.save(records());
        let ended = tokio::time::timeout(Duration::from_millis(50), ledger.written()).await;
        assert!(
            ended.is_err(),
            "the one thread of this runtime has not waited"
        );
        assert!(ledger.is_writing());

        let reader = std::fs::File::open(&beside).unwrap();
        ledger.written().await;
        drop(reader);
        assert!(
            !ledger.is_writing(),
            "a pipe can't be synced: the write has failed"
        );
        ledger.save(records());
        assert!(!ledger.is_writing(), "and is not tried again at once");
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("instances.json");
        let mut ledger = Ledger::load(path.clone()).unwrap();
        let records = records();
        ledger.save(records.clone());
        ledger.written().await;
        ledger.save(records.clone());
        assert!(!ledger.is_writing(), "nothing has changed");
        assert_eq!(*Ledger::load(path).unwrap().records(), records);
    }
}
