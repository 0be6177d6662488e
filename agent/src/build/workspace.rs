//! The folder of one build: what git needs (`home`), the source, and the tar for the engine.
//! Owned by the unprivileged user, removed when dropped.

use std::{
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use std::io::Write;

use domain::{id::BuildId, quantity::Bytes};

use super::error::Error;

/// The folder of one build.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    uid: u32,
}

impl Workspace {
    /// Makes the folder, empty, below `parent`.
    pub fn create(parent: &Path, build: BuildId, uid: u32) -> Result<Self, Error> {
        let path = parent.join(build.to_string());
        remove(&path).map_err(Error::io("clear", &path))?;
        let workspace = Self { path, uid };
        std::fs::DirBuilder::new()
            .mode(0o711)
            .recursive(true)
            .create(&workspace.path)
            .map_err(Error::io("make the folder", &workspace.path))?;
        for folder in [workspace.home(), workspace.source()] {
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(&folder)
                .map_err(Error::io("make the folder", &folder))?;
            workspace.give(&folder)?;
        }
        Ok(workspace)
    }

    /// Files that git and ssh are configured by.
    pub fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// The source; git runs in it.
    pub fn source(&self) -> PathBuf {
        self.path.join("source")
    }

    /// The tar file for the engine, or the archive as uploaded.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file into `home`, readable by the unprivileged user only.
    pub fn write_private(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.home().join(name);
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content))
            .map_err(Error::io("write", &path))?;
        self.give(&path)
    }

    fn give(&self, path: &Path) -> Result<(), Error> {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.uid))
            .map_err(Error::io("change the owner of", path))
    }

    /// Bytes in use, and whether they are more than `limit`.
    pub fn exceeds(&self, limit: Bytes) -> bool {
        size_up_to(&self.path, limit.0) > limit.0
    }
}

impl Drop for Workspace {
    /// Off the async threads where there are any: a large source takes a while.
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove_or_warn(&path))),
            Err(_) => remove_or_warn(&path),
        }
    }
}

fn remove_or_warn(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!(path = %path.display(), %error, "a build's folder could not be removed");
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Disk use below `path`, counted until it passes `limit`. Files that vanish meanwhile count nothing.
fn size_up_to(path: &Path, limit: u64) -> u64 {
    let mut total = 0;
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            total += metadata.blocks() * 512;
            if total > limit {
                return total;
            }
        }
    }
    total
}
