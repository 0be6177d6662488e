//! The folder of one build: what git and ssh are configured by (`config`), where git keeps its own (`home`), the
//! source, and the tar for the engine. The unprivileged user owns `home` and the source, and of the rest reads
//! `config` only. Removed when dropped.

use std::{
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown, lchown},
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
            lchown(&folder, Some(uid), Some(uid))
                .map_err(Error::io("change the owner of", &folder))?;
        }
        let config = workspace.config();
        std::fs::DirBuilder::new()
            .mode(0o750)
            .create(&config)
            .and_then(|()| lchown(&config, None, Some(uid)))
            .map_err(Error::io("make the folder", &config))?;
        Ok(workspace)
    }

    /// Where the unprivileged user reads what it must not change.
    pub fn config(&self) -> PathBuf {
        self.path.join("config")
    }

    /// Where git keeps what it has fetched.
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

    /// Writes a file into `config`, or other content into it: the unprivileged user can read it and not change it.
    pub fn configure(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.config().join(name);
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&path)
            .and_then(|mut file| {
                fchown(&file, None, Some(self.uid))?;
                file.write_all(content)
            })
            .map_err(Error::io("write", &path))
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

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    const NOBODY: u32 = 65_534;

    /// As a program that a repository has taken over would.
    fn as_nobody(program: &str, arguments: &[&Path]) -> bool {
        let mut command = Command::new("setpriv");
        let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
        command.args(user).args(["--clear-groups", "--", program]);
        command.args(arguments).output().unwrap().status.success()
    }

    #[test]
    fn the_unprivileged_user_reads_its_configuration_and_can_not_change_it() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let workspace = Workspace::create(folder.path(), BuildId::new(), NOBODY).unwrap();
        workspace.configure("known_hosts", b"longer").unwrap();
        workspace.configure("known_hosts", b"host key").unwrap();
        let (config, home) = (workspace.config(), workspace.home());
        let known = config.join("known_hosts");

        assert!(as_nobody("cat", &[&known]));
        let (own, more) = (home.join("own"), config.join("more"));
        assert!(as_nobody("touch", &[&own]), "home is its own");
        for (program, arguments) in [
            ("cp", [&own, &known]),
            ("mv", [&own, &known]),
            ("rm", [&known, &known]),
            ("touch", [&more, &more]),
            ("mv", [&config, &home]),
        ] {
            let arguments = arguments.map(PathBuf::as_path);
            assert!(!as_nobody(program, &arguments), "{program} {arguments:?}");
        }
        assert_eq!(std::fs::read(&known).unwrap(), b"host key");
    }
}
