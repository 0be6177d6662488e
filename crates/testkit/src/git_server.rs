//! A git server over ssh that lets one key in: the machine's own sshd.

use std::{
    fs::File,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::wait;

const SSHD: &str = "/usr/sbin/sshd";
const START: Duration = Duration::from_secs(20);

/// A listening server; it ends with its value.
#[derive(Debug)]
pub struct GitServer {
    _folder: TempDir,
    address: String,
    port: u16,
    process: Child,
    /// Given up last.
    _turn: File,
}

impl GitServer {
    /// Listens on `address` for the holder of `public_key` (OpenSSH), once no other test has a server with
    /// that host key there. Who met an address before expects the same host key there: it is made where it is not
    /// yet.
    ///
    /// # Errors
    /// When sshd or ssh-keygen can't be run.
    pub async fn listen(
        address: &str,
        port: u16,
        host_key: &Path,
        public_key: &str,
    ) -> Result<Self> {
        let turn = turn(host_key, port).await?;
        let folder = tempfile::tempdir()?;
        std::fs::create_dir_all("/run/sshd").context("making the folder that sshd wants")?;
        if !host_key.exists() {
            generate_key(host_key)?;
        }
        let allowed = folder.path().join("allowed");
        std::fs::write(&allowed, public_key)?;
        let config = folder.path().join("config");
        std::fs::write(&config, settings(address, port, host_key, &allowed))?;
        let process = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("running {SSHD}"))?;
        let server = Self {
            _folder: folder,
            address: address.to_owned(),
            port,
            process,
            _turn: turn,
        };
        let listens = async || TcpStream::connect((address, port)).is_ok();
        wait::until(START, listens).await;
        Ok(server)
    }

    /// The ssh address of a repository on this disk.
    #[must_use]
    pub fn url(&self, repository: &Path) -> String {
        let (address, port) = (&self.address, self.port);
        format!("ssh://root@{address}:{port}{}", repository.display())
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // It may have ended by itself; nothing else is left of it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Tests run side by side, and an address has room for one.
async fn turn(host_key: &Path, port: u16) -> Result<File> {
    let path = host_key.with_extension(format!("{port}.turn"));
    let file = File::create(path).context("making the lock's file")?;
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await?;
    locked.context("waiting for the git server of another test")
}

/// A new key without passphrase: `path` and `path`.pub.
///
/// # Errors
/// When ssh-keygen can't be run or refuses.
pub fn generate_key(path: &Path) -> Result<()> {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .output()
        .context("running ssh-keygen")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ssh-keygen: {stderr}");
    Ok(())
}

fn settings(address: &str, port: u16, host_key: &Path, allowed: &Path) -> String {
    format!(
        "ListenAddress {address}:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication no\n",
        host_key.display(),
        allowed.display()
    )
}
