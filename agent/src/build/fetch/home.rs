//! What git and ssh are configured by, and the host keys that they meet. All of it waits for the disk, on threads
//! that may.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::Fetch;
use crate::build::{blocking::blocking, error::Error, workspace::Workspace};

/// Everything that git is told by configuration. The system's and the user's files are not read.
const GIT_CONFIG: &str = "\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\taskPass =
[init]
\tdefaultBranch = main
\ttemplateDir =
[credential]
\thelper =
[fetch]
\trecurseSubmodules = false
[submodule]
\trecurse = false
[protocol \"file\"]
\tallow = user
[http]
\tlowSpeedLimit = 1000
\tlowSpeedTime = 60
[gc]
\tauto = 0
[maintenance]
\tauto = false
[advice]
\tdetachedHead = false
[safe]
\tdirectory = *
";

/// Paths are relative to the source folder, where git and so ssh run.
const SSH_CONFIG: &str = "\
Host *
    UserKnownHostsFile ../home/known_hosts
    StrictHostKeyChecking accept-new
    HashKnownHosts no
    BatchMode yes
    PreferredAuthentications publickey
    IdentitiesOnly yes
    IdentityAgent none
    IdentityFile ../home/deploy_key
    ConnectTimeout 20
    ServerAliveInterval 15
    ClearAllForwardings yes
    PermitLocalCommand no
";

/// Where the system's CA bundle is, on Debian and on Red Hat.
const CA_BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// The home folder of a fetch.
#[derive(Clone)]
pub struct Home {
    workspace: Arc<Workspace>,
    extra_ca_file: Option<PathBuf>,
    /// Host keys that the organization has met.
    known_hosts: PathBuf,
    deploy_key: Option<Zeroizing<String>>,
}

impl Home {
    /// That of this fetch, with nothing in it yet.
    pub fn of(fetch: &Fetch<'_>) -> Self {
        Self {
            workspace: Arc::clone(fetch.workspace),
            extra_ca_file: fetch.config.extra_ca_file.clone(),
            known_hosts: fetch.known_hosts(),
            deploy_key: fetch.deploy_key.clone(),
        }
    }

    /// Writes all that git and ssh read.
    pub async fn write(&self) -> Result<(), Error> {
        let home = self.clone();
        blocking(move || home.write_files()).await
    }

    fn write_files(&self) -> Result<(), Error> {
        let workspace = &self.workspace;
        let mut config = GIT_CONFIG.to_owned();
        if let Some(extra) = &self.extra_ca_file {
            workspace.write_private("ca.pem", &ca_bundle(extra)?)?;
            config.push_str("[http]\n\tsslCAInfo = ../home/ca.pem\n");
        }
        workspace.write_private("gitconfig", config.as_bytes())?;
        workspace.write_private("ssh_config", SSH_CONFIG.as_bytes())?;
        workspace.write_private("known_hosts", &self.met_before()?)?;
        let key = self.deploy_key.as_ref();
        let key = key.map_or_else(String::new, |key| format!("{}\n", key.trim_end()));
        workspace.write_private("deploy_key", Zeroizing::new(key).as_bytes())
    }

    /// Whoever can't read these would take any key for a new host's.
    fn met_before(&self) -> Result<Vec<u8>, Error> {
        match std::fs::read(&self.known_hosts) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(Error::io("read the known hosts in", &self.known_hosts)),
        }
    }

    /// Hosts that were met for the first time must show the same key from now on.
    pub async fn keep_known_hosts(&self) -> Result<(), Error> {
        let met = self.workspace.home().join("known_hosts");
        let kept = self.known_hosts.clone();
        blocking(move || {
            let known = std::fs::read(&met).map_err(Error::io("read", &met))?;
            if known.is_empty() {
                return Ok(());
            }
            std::fs::write(&kept, known).map_err(Error::io("keep the known hosts in", kept))
        })
        .await
    }
}

/// The system's CA certificates and the operator's.
fn ca_bundle(extra: &Path) -> Result<Vec<u8>, Error> {
    let mut bundle = CA_BUNDLES
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .unwrap_or_default();
    bundle.push(b'\n');
    bundle.extend(std::fs::read(extra).map_err(Error::io("read the extra CA file", extra))?);
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use std::{fs, pin::pin};

    use domain::id::BuildId;
    use futures::FutureExt as _;
    use testkit::hung_file::HungFile;

    use super::*;

    fn home(folder: &Path) -> Home {
        let uid = nix::unistd::getuid().as_raw();
        let workspace = Workspace::create(folder, BuildId::new(), uid).unwrap();
        Home {
            workspace: Arc::new(workspace),
            extra_ca_file: None,
            known_hosts: folder.join("known_hosts"),
            deploy_key: None,
        }
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_no_thread_of_the_runtime_up() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(folder.path());
        let hung = HungFile::holding(&home.known_hosts, b"host key");
        let mut writing = pin!(home.write());
        assert!(writing.as_mut().now_or_never().is_none());
        assert_eq!(hung.heal(), b"host key");
        writing.await.unwrap();
        let met = home.workspace.home().join("known_hosts");
        assert_eq!(fs::read(met).unwrap(), b"host key");

        let hung = HungFile::at(&home.known_hosts);
        let mut keeping = pin!(home.keep_known_hosts());
        assert!(keeping.as_mut().now_or_never().is_none());
        assert_eq!(hung.heal(), b"host key");
        keeping.await.unwrap();
    }

    #[tokio::test]
    async fn host_keys_that_cannot_be_read_are_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(folder.path());
        fs::create_dir(&home.known_hosts).unwrap();
        let error = home.write().await.unwrap_err();
        assert!(error.to_string().contains("known hosts"), "{error}");
    }
}
