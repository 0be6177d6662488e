//! A process whose state folder is full: on a small disk of its own, so that nobody else's is.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use chaos::history::Kill;
use chrono::Utc;
use e2e::{command::succeed, fault::SMALL_DISK, platform::Platform, wait};
use tokio::{process::Command, time::sleep};

const SIZE: &str = "size=8m,mode=0700";
const HELD_WITHIN: Duration = Duration::from_secs(60);
const FILL: &str = "fill";

pub struct FullDisk {
    name: &'static str,
    state: PathBuf,
    copy: PathBuf,
}

impl FullDisk {
    /// Moves the process's state to a small disk, and fills that.
    pub async fn under(platform: &Platform, name: &'static str) -> Result<Self> {
        let state = state_dir(platform, name)?;
        let disk = Self {
            copy: state.with_extension("copy"),
            state,
            name,
        };
        disk.stopped(platform).await?;
        copy(&disk.state, &disk.copy).await?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, SMALL_DISK]);
        succeed(mount.arg(&disk.state)).await?;
        copy(&disk.copy, &disk.state).await?;
        disk.started(platform).await?;
        disk.fill()?;
        Ok(disk)
    }

    fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.state.join(FILL))?;
        loop {
            // Page by page, so that nothing is left over.
            match file.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("filling the disk"),
            }
        }
    }

    /// In the midst of it the process is killed, and has to start from what the full disk holds.
    pub async fn kill_and_come_back(
        &self,
        platform: &Platform,
        lasts: Duration,
        kills: &mut Vec<Kill>,
    ) -> Result<()> {
        sleep(lasts / 2).await;
        let region = self.name.strip_suffix("-edge");
        let at = Utc::now();
        let pid = platform.kill(self.name).await?;
        platform.wait_ready(self.name, Some(pid)).await;
        kills.push(Kill {
            process: self.name.to_owned(),
            at,
            back: Some(Utc::now()),
            edge: region.and_then(|region| platform.status.edges.get(region).copied()),
        });
        self.fill()?;
        sleep(lasts / 2).await;
        Ok(())
    }

    pub fn make_room(&self) -> Result<()> {
        fs::remove_file(self.state.join(FILL)).context("making room")
    }

    /// Moves the state back.
    pub async fn put_away(self, platform: &Platform) -> Result<()> {
        self.stopped(platform).await?;
        fs::remove_dir_all(&self.copy)?;
        copy(&self.state, &self.copy).await?;
        succeed(Command::new("umount").arg(&self.state)).await?;
        fs::remove_dir_all(&self.state)?;
        copy(&self.copy, &self.state).await?;
        fs::remove_dir_all(&self.copy)?;
        self.started(platform).await
    }

    async fn stopped(&self, platform: &Platform) -> Result<()> {
        platform.hold(self.name, true).await?;
        wait::outcome(HELD_WITHIN, || async {
            let process = platform.process(self.name).await?;
            ensure!(process.pid.is_none(), "{} still runs", self.name);
            Ok(())
        })
        .await
    }

    async fn started(&self, platform: &Platform) -> Result<()> {
        platform.hold(self.name, false).await?;
        platform.wait_ready(self.name, None).await;
        Ok(())
    }
}

fn state_dir(platform: &Platform, name: &str) -> Result<PathBuf> {
    let data = platform.status.ca_file.parent().context("no data folder")?;
    let file = data.join("config").join(format!("{name}.toml"));
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let config: toml::Table = text.parse()?;
    match config.get("state_dir").and_then(toml::Value::as_str) {
        Some(dir) => Ok(dir.into()),
        None => bail!("{} names no state_dir", file.display()),
    }
}

/// With owners and modes.
async fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut copy = Command::new("cp");
    copy.arg("--archive").arg(from.join(".")).arg(to);
    succeed(&mut copy).await.map(drop)
}
