//! Builds images: takes the builds of the node's feed one after the other, fetches the source in
//! the build network, lets the build engine make the image, pushes it, and reports the digest.
//! Every build ends, with an image or with a code; a restart of the agent loses none, and an engine, registry or
//! control plane that is away for a moment fails none.

mod base_image;
mod blocking;
mod buildkit;
mod config;
mod context;
mod diagnosis;
mod dockerignore;
mod engine;
mod error;
mod fetch;
mod job;
mod log;
mod lookup;
mod queue;
mod record;
mod registry;
mod retry;
mod sandbox;
mod task;
mod workspace;

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use link::client::{self, Client};
use tokio::sync::watch;

use domain::id::{ArchiveId, BuildId};
use protocol::{
    join::{RegistryToken, RegistryTokenRequest},
    report::BuildReport,
};

use crate::secrets::Secrets;

pub use config::Config;
pub use error::Error;
pub use log::LogSink;
pub use queue::{Items, Queue};
pub use record::Record;

/// The builds of the newest document, `None` until there is one.
pub type Wanted = Option<Items>;

/// What builds ask of the control plane.
#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// `POST /node/v1/registry-token`.
    async fn registry_token(
        &self,
        request: &RegistryTokenRequest,
    ) -> Result<RegistryToken, client::Error>;
    /// `GET /node/v1/archives/<id>`, into the file `to`; at most `max_bytes`, and only these bytes.
    async fn download_archive(
        &self,
        id: ArchiveId,
        sha256: &str,
        to: &Path,
        max_bytes: u64,
    ) -> Result<(), client::Error>;
}

#[async_trait]
impl ControlPlane for Client {
    async fn registry_token(
        &self,
        request: &RegistryTokenRequest,
    ) -> Result<RegistryToken, client::Error> {
        Self::registry_token(self, request).await
    }

    async fn download_archive(
        &self,
        id: ArchiveId,
        sha256: &str,
        to: &Path,
        max_bytes: u64,
    ) -> Result<(), client::Error> {
        Self::download_archive(self, id, sha256, to, max_bytes).await
    }
}

/// What builds need of the rest of the agent.
#[derive(Clone)]
pub struct Dependencies {
    /// Tokens and archives.
    pub control_plane: Arc<dyn ControlPlane>,
    /// Build output.
    pub logs: Arc<dyn LogSink>,
    /// Build secrets and deploy keys.
    pub secrets: Arc<dyn Secrets>,
    /// Of the registry's certificate, PEM.
    pub registry_ca: String,
}

/// Starts the builder. The reports at once hold what was finished before a restart.
///
/// # Errors
/// When the data folder or the registry's CA can't be used.
pub fn start(
    config: Config,
    dependencies: Dependencies,
    wanted: watch::Receiver<Wanted>,
) -> Result<watch::Receiver<Vec<BuildReport>>, Error> {
    let (records, builds) = prepare(&config.data_dir, config.fetch_uid)?;
    let registry = registry::Registry::new(&config.registry, &dependencies.registry_ca)
        .map_err(Error::RegistryCertificate)?;
    let shared = job::Shared {
        config,
        dependencies,
        registry,
    };
    Ok(task::spawn(shared, wanted, records, builds))
}

/// The folders, and what a former process left. On a disk that has become read-only too: all else goes on from it.
fn prepare(
    data_dir: &Path,
    fetch_uid: u32,
) -> Result<(record::Records, BTreeMap<BuildId, Record>), Error> {
    let known_hosts = fetch::known_hosts_folder(data_dir);
    let work = work_folder(data_dir);
    if let Err(error) = clear(&work) {
        tracing::warn!(%error, "what interrupted builds left stays for now");
    }
    for folder in [&known_hosts, &work] {
        std::fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
    }
    check_reachable(&work, fetch_uid)?;
    record::Records::open(data_dir.join("records"))
}

fn work_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("work")
}

/// Removes what interrupted builds left.
fn clear(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("clear", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Git works in this folder without privileges: every folder above must let it pass.
fn check_reachable(folder: &Path, uid: u32) -> Result<(), Error> {
    for folder in folder.ancestors().filter(|path| path.is_absolute()) {
        let metadata = folder.metadata().map_err(Error::io("look at", folder))?;
        let passes =
            metadata.mode() & 0o001 != 0 || (metadata.uid() == uid && metadata.mode() & 0o100 != 0);
        if !passes {
            return Err(Error::Unreachable {
                folder: folder.to_owned(),
                uid,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::{
        mount::{MsFlags, mount},
        sched::{CloneFlags, unshare},
    };

    use super::*;

    /// Lets a thread of its own do something while it sees the folder on a disk that can't be written to.
    fn read_only<T: Send>(folder: &Path, act: impl FnOnce() -> T + Send) -> T {
        let same: Option<&str> = None;
        let change = |source, flags| mount(source, folder, same, flags, same).unwrap();
        let on_such_a_disk = || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(same, "/", same, private, same).unwrap();
            change(Some(folder), MsFlags::MS_BIND);
            let remount = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            change(None, remount);
            std::fs::write(folder.join("x"), "").unwrap_err();
            act()
        };
        std::thread::scope(|scope| scope.spawn(on_such_a_disk).join().unwrap())
    }

    #[test]
    fn a_builder_begins_on_a_disk_that_it_can_only_read() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("sources");
        let reachable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), reachable).unwrap();
        let (records, none) = prepare(&data_dir, 65_534).unwrap();
        assert!(none.is_empty());
        let build = Record::new(BuildId::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(records.store(&build)).unwrap();
        let left = work_folder(&data_dir).join("left");
        std::fs::create_dir(&left).unwrap();

        let found = read_only(&data_dir, || {
            prepare(&data_dir, 65_534).map(|(_, found)| found)
        });
        assert_eq!(found.unwrap()[&build.report.id], build);
        assert!(left.exists());
        prepare(&data_dir, 65_534).unwrap();
        assert!(!left.exists());
    }
}
