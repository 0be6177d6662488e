//! Builds on disk, so that a restarted agent reports a finished build as finished and begins an
//! interrupted one again.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use domain::id::BuildId;
use protocol::report::{BUILD_CANCELED, BuildReport, BuildResult, BuildState, Problem};

use super::error::Error;

/// A build that is interrupted more often has failed. It runs in an engine of its own and can't end the agent, so
/// that this is a limit to what a node that never stays up may cost, and no judgement on the build.
pub const ATTEMPTS_MAX: u32 = 10;

/// One build, as far as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// As reported.
    pub report: BuildReport,
    /// How often it was begun.
    pub attempts: u32,
}

impl Record {
    /// A build that was not begun.
    #[must_use]
    pub fn new(id: BuildId) -> Self {
        Self {
            report: BuildReport {
                id,
                state: BuildState::Waiting,
                started_at: None,
            },
            attempts: 0,
        }
    }

    /// Whether nothing more happens to it.
    pub(super) fn is_ended(&self) -> bool {
        matches!(
            self.report.state,
            BuildState::Succeeded(_) | BuildState::Failed { .. }
        )
    }

    /// Whether it has ended because it was not wanted.
    pub(super) fn is_canceled(&self) -> bool {
        match &self.report.state {
            BuildState::Failed { problem } => problem.code == BUILD_CANCELED,
            _ => false,
        }
    }

    /// Taken up.
    pub(super) fn begin(&mut self, now: DateTime<Utc>) {
        self.attempts += 1;
        self.report.started_at = Some(now);
        self.report.state = BuildState::Fetching;
    }

    /// Ended, well or not.
    pub(super) fn end(&mut self, result: Result<BuildResult, Problem>) {
        self.report.state = match result {
            Ok(result) => BuildState::Succeeded(result),
            Err(problem) => BuildState::Failed { problem },
        };
    }

    /// What a restart makes of it.
    pub(super) fn after_restart(&mut self) {
        if self.is_ended() {
            return;
        }
        self.report.state = if self.attempts >= ATTEMPTS_MAX {
            let times = self.attempts;
            let problem = Error::Interrupted { times }.problem();
            BuildState::Failed { problem }
        } else {
            BuildState::Waiting
        };
    }
}

/// The records' folder, one file per build.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// Opens the folder and reads what a former process left. A file that can't be read is removed
    /// and its build begins again.
    pub fn open(folder: PathBuf) -> Result<(Self, BTreeMap<BuildId, Record>), Error> {
        std::fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
        let records = Self { folder };
        let mut found = BTreeMap::new();
        let entries =
            std::fs::read_dir(&records.folder).map_err(Error::io("read", &records.folder))?;
        for entry in entries {
            let path = entry.map_err(Error::io("read", &records.folder))?.path();
            match read(&path) {
                Ok(record) => {
                    found.insert(record.report.id, record);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a build's record can't be read; it begins again");
                    std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                }
            }
        }
        Ok((records, found))
    }

    /// Writes a record; it is there after a crash. No thread of the runtime waits for the disk.
    pub async fn store(&self, record: &Record) -> Result<(), Error> {
        let path = self.path(record.report.id);
        let (folder, file, record) = (self.folder.clone(), path.clone(), record.clone());
        let written = blocking(move || write(&folder, &file, &record)).await;
        written.map_err(Error::io("write", path))
    }

    /// Forgets a build.
    pub async fn remove(&self, id: BuildId) -> Result<(), Error> {
        let path = self.path(id);
        let file = path.clone();
        match blocking(move || std::fs::remove_file(file)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, id: BuildId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}

async fn blocking(
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> std::io::Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|broken| Err(broken.into()))
}

fn read(path: &Path) -> std::io::Result<Record> {
    serde_json::from_slice(&std::fs::read(path)?).map_err(std::io::Error::other)
}

fn write(folder: &Path, path: &Path, record: &Record) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use domain::quantity::Bytes;
    use protocol::report::BuildResult;

    use super::*;

    #[tokio::test]
    async fn ended_builds_stay_ended_and_interrupted_ones_begin_again_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let (records, _) = Records::open(folder.path().join("records")).unwrap();
        let mut done = Record::new(BuildId::new());
        done.report.state = BuildState::Succeeded(BuildResult {
            digest: "sha256:00".into(),
            size: Bytes(1),
            commit: None,
            source_digest: None,
        });
        let mut first = Record::new(BuildId::new());
        first.begin(Utc::now());
        let mut last = Record::new(BuildId::new());
        (0..ATTEMPTS_MAX).for_each(|_| last.begin(Utc::now()));
        for record in [&done, &first, &last] {
            records.store(record).await.unwrap();
        }
        std::fs::write(folder.path().join("records/torn.json"), "{").unwrap();

        let (records, mut found) = Records::open(folder.path().join("records")).unwrap();
        found.values_mut().for_each(Record::after_restart);
        assert_eq!(found[&done.report.id], done);
        assert_eq!(found[&first.report.id].report.state, BuildState::Waiting);
        assert!(
            matches!(&found[&last.report.id].report.state, BuildState::Failed { problem } if problem.code == "build_interrupted")
        );
        assert_eq!(found.len(), 3);
        records.remove(done.report.id).await.unwrap();
        records.remove(done.report.id).await.unwrap();
        assert_eq!(
            Records::open(folder.path().join("records"))
                .unwrap()
                .1
                .len(),
            2
        );
    }
}
