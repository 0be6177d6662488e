//! Brings a build's source into its workspace: from git or from an uploaded archive.

mod address;
mod archive;
mod git;
mod known_hosts;
mod refs;
mod repository;
mod said;
mod settings;
mod ssh_host;
mod submodules;

use std::{path::Path, sync::Arc, time::Duration};

use domain::{id::OrganizationId, quantity::Bytes};
use protocol::{item::BuildSource, report::CommitInfo};
use zeroize::Zeroizing;

use super::{
    ControlPlane, blocking::blocking, config::Config, error::Error, log::Log, sandbox::Sandbox,
    workspace::Workspace,
};

const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// What fetching needs to know.
pub struct Fetch<'a> {
    /// The node's settings.
    pub config: &'a Config,
    /// Where archives come from.
    pub control_plane: &'a dyn ControlPlane,
    /// Where the source goes.
    pub workspace: &'a Arc<Workspace>,
    /// Whose it is: known hosts are kept per organization.
    pub organization: OrganizationId,
    /// An OpenSSH private key.
    pub deploy_key: Option<Zeroizing<String>>,
    /// For people.
    pub log: &'a Log,
}

impl Fetch<'_> {
    /// Fetches `source`; the commit when it is git.
    pub async fn run(&self, source: &BuildSource) -> Result<Option<CommitInfo>, Error> {
        let limit = self.config.max_source;
        let too_large = Error::RepositoryTooLarge { limit };
        tokio::select! {
            // What came quicker than anybody looked is measured at the end; so is what failed at the
            // limit of a single file.
            result = self.fetch(source) => if self.exceeds(limit).await? {
                Err(too_large)
            } else {
                result
            },
            outgrown = self.outgrown(limit) => Err(outgrown.err().unwrap_or(too_large)),
        }
    }

    async fn fetch(&self, source: &BuildSource) -> Result<Option<CommitInfo>, Error> {
        match source {
            BuildSource::Git {
                repo, reference, ..
            } => git::fetch(self, repo, reference.as_deref()).await.map(Some),
            BuildSource::Archive { id, sha256 } => {
                archive::fetch(self, *id, sha256).await.map(|()| None)
            }
            // The engine itself pulls it.
            BuildSource::Image { .. } => Ok(None),
        }
    }

    async fn outgrown(&self, limit: Bytes) -> Result<(), Error> {
        while !self.exceeds(limit).await? {
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
        Ok(())
    }

    async fn exceeds(&self, limit: Bytes) -> Result<bool, Error> {
        let workspace = Arc::clone(self.workspace);
        blocking(move || Ok(workspace.exceeds(limit))).await
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox {
            netns: self.config.netns.clone(),
            uid: self.config.fetch_uid,
            max_file: self.config.max_source,
        }
    }

    fn known_hosts(&self) -> std::path::PathBuf {
        known_hosts_folder(&self.config.data_dir).join(self.organization.to_string())
    }
}

/// Host keys that were accepted at first contact, a file per organization.
pub fn known_hosts_folder(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("known_hosts")
}
