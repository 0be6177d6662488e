//! Named points of our programs, armed from outside by a file (`crates/failpoint`), which is gone once the
//! point has struck.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::platform::Platform;

/// What happens to a process at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// It ends as if killed.
    End,
    /// It stands still until it is let go.
    Hold,
}

/// A point that is armed in one process; disarmed, and let go, when this is dropped.
pub struct Armed {
    /// Such as `us-east-agent`.
    pub process: String,
    /// Of that process, when the point was armed.
    pub pid: Option<i32>,
    file: PathBuf,
    held: PathBuf,
}

impl Armed {
    /// Arms it.
    pub async fn new(
        platform: &Platform,
        process: &str,
        point: &str,
        strike: Strike,
    ) -> Result<Self> {
        let pid = platform.process(process).await?.pid;
        let data = platform.status.ca_file.parent();
        let run = data.and_then(Path::parent).context("no run folder")?;
        let folder = run.join("failpoints").join(process);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let armed = Self {
            process: process.to_owned(),
            pid,
            file: folder.join(point),
            held: folder.join(failpoint::held(point)),
        };
        armed.write(match strike {
            Strike::End => "",
            Strike::Hold => failpoint::HOLD,
        })?;
        Ok(armed)
    }

    /// Whole at once: a process may look at any moment.
    fn write(&self, text: &str) -> Result<()> {
        let draft = self.file.with_extension("new");
        fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
        fs::rename(&draft, &self.file).with_context(|| format!("arming {}", self.file.display()))
    }

    /// Whether the process has come to the point.
    pub fn has_struck(&self) -> bool {
        !self.file.exists()
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        // Mostly one of them is gone, or both.
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(&self.held);
    }
}
