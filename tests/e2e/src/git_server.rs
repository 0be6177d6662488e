//! A git server over ssh that lets one key in: the machine's own sshd, on the port of the platform's
//! host address that builds of a test platform may reach.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::wait;

/// `xtask` lets builds of test platforms out to this port.
const PORT: u16 = 2222;

/// A listening server; it ends with its value.
pub struct GitServer {
    folder: TempDir,
    address: String,
    process: Child,
}

impl GitServer {
    /// Listens on `address` for the holder of `public_key` (OpenSSH).
    pub async fn listen(address: &str, public_key: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir_all("/run/sshd").context("making the folder that sshd wants")?;
        let host_key = folder.path().join("host_key");
        succeed(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&host_key),
        )?;
        let allowed = folder.path().join("allowed");
        std::fs::write(&allowed, public_key)?;
        let config = folder.path().join("config");
        std::fs::write(&config, settings(address, &host_key, &allowed))?;
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self {
            folder,
            address: address.to_owned(),
            process,
        };
        wait::until("sshd listens", Duration::from_secs(20), || async {
            TcpStream::connect((address, PORT)).context("connecting")
        })
        .await;
        Ok(server)
    }

    /// A bare repository with the files of `from` as its only commit; its ssh address.
    pub fn serve(&self, from: &Path) -> Result<String> {
        let (work, bare) = (
            self.folder.path().join("work"),
            self.folder.path().join("repository.git"),
        );
        std::fs::create_dir(&work)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            std::fs::copy(entry.path(), work.join(entry.file_name()))?;
        }
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.current_dir(&work)
                .args(["-c", "user.name=Test", "-c", "user.email=test@example.com"])
                .args(arguments);
            succeed(&mut git)
        };
        git(&["init", "--quiet", "--initial-branch=main"])?;
        git(&["add", "--all"])?;
        git(&["commit", "--quiet", "-m", "Say hello over ssh"])?;
        git(&[
            "clone",
            "--quiet",
            "--bare",
            ".",
            &bare.display().to_string(),
        ])?;
        Ok(format!(
            "ssh://root@{}:{PORT}{}",
            self.address,
            bare.display()
        ))
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // It may have ended by itself; nothing else is left of it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn settings(address: &str, host_key: &Path, allowed: &Path) -> String {
    let show = |path: &Path| PathBuf::from(path).display().to_string();
    format!(
        "ListenAddress {address}:{PORT}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication no\n",
        show(host_key),
        show(allowed)
    )
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
