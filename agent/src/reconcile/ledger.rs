//! What the agent remembers of each instance across its own restarts. The engine's labels would do
//! to adopt containers; this adds what the engine doesn't know: the state reached, the last
//! judgement of the probes, and how often a container has ended in a row.

use std::{collections::BTreeMap, path::PathBuf};

use chrono::{DateTime, Utc};
use domain::{
    id::{EnvironmentId, InstanceId, ReleaseId, ServiceId},
    instance::State,
    quantity::Span,
    spec::StopSignal,
};
use protocol::{item::InstanceItem, report::Problem};
use serde::{Deserialize, Serialize};

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
    /// Of the last end.
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
    /// A document of this node had it; only then may a document without it end it.
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

/// The file.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    written: BTreeMap<InstanceId, Record>,
}

impl Ledger {
    /// Reads what the last run knew.
    pub(super) fn load(path: PathBuf) -> Result<Self, disk::Error> {
        let written = disk::read(&path)?.unwrap_or_default();
        Ok(Self { path, written })
    }

    pub(super) fn records(&self) -> &BTreeMap<InstanceId, Record> {
        &self.written
    }

    /// Writes when something differs.
    pub(super) fn save(
        &mut self,
        records: BTreeMap<InstanceId, Record>,
    ) -> Result<(), disk::Error> {
        if records == self.written {
            return Ok(());
        }
        disk::write(&self.path, &records)?;
        self.written = records;
        Ok(())
    }
}
