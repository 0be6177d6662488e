//! What git and ssh are configured by, in a folder that they can't write. All of it waits for the disk, on threads that
//! may.

use std::{
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
    UserKnownHostsFile ../config/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    BatchMode yes
    PreferredAuthentications publickey
    IdentitiesOnly yes
    IdentityAgent none
    IdentityFile ../config/deploy_key
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

/// The settings of a fetch.
#[derive(Clone)]
pub struct Settings {
    workspace: Arc<Workspace>,
    extra_ca_file: Option<PathBuf>,
    deploy_key: Option<Zeroizing<String>>,
}

impl Settings {
    /// Those of this fetch, not written yet.
    pub fn of(fetch: &Fetch<'_>) -> Self {
        Self {
            workspace: Arc::clone(fetch.workspace),
            extra_ca_file: fetch.config.extra_ca_file.clone(),
            deploy_key: fetch.deploy_key.clone(),
        }
    }

    /// Writes all that git and ssh read, but for the hosts that they may meet.
    pub async fn write(self) -> Result<(), Error> {
        blocking(move || self.write_files()).await
    }

    fn write_files(&self) -> Result<(), Error> {
        let workspace = &self.workspace;
        let mut config = GIT_CONFIG.to_owned();
        if let Some(extra) = &self.extra_ca_file {
            workspace.configure("ca.pem", &ca_bundle(extra)?)?;
            config.push_str("[http]\n\tsslCAInfo = ../config/ca.pem\n");
        }
        workspace.configure("gitconfig", config.as_bytes())?;
        workspace.configure("ssh_config", SSH_CONFIG.as_bytes())?;
        let key = self.deploy_key.as_ref();
        let key = key.map_or_else(String::new, |key| format!("{}\n", key.trim_end()));
        workspace.configure("deploy_key", Zeroizing::new(key).as_bytes())
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
    use std::pin::pin;

    use domain::id::BuildId;
    use futures::FutureExt as _;
    use testkit::hung_file::HungFile;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_holds_no_thread_of_the_runtime_up() {
        let folder = tempfile::tempdir().unwrap();
        let uid = nix::unistd::getuid().as_raw();
        let workspace = Workspace::create(folder.path(), BuildId::new(), uid).unwrap();
        let workspace = Arc::new(workspace);
        let extra_ca_file = folder.path().join("ca.pem");
        let hung = HungFile::holding(&extra_ca_file, b"authority");
        let settings = Settings {
            workspace: Arc::clone(&workspace),
            extra_ca_file: Some(extra_ca_file),
            deploy_key: None,
        };
        let mut writing = pin!(settings.write());
        assert!(writing.as_mut().now_or_never().is_none());
        assert_eq!(hung.heal(), b"authority");
        writing.await.unwrap();
        let bundle = std::fs::read(workspace.config().join("ca.pem")).unwrap();
        assert!(bundle.ends_with(b"authority"));
    }
}
