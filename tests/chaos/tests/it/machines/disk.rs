//! A small disk of its own under all that a process writes: its folder and its logs. It fills up, can't be written to
//! any more, or hangs, and nobody else's does.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{command::succeed, fault::SMALL_DISK, platform::Platform, wait};
use tokio::{process::Command, time::timeout};

use super::log::Log;

const HELD_WITHIN: Duration = Duration::from_secs(60);
/// Until nobody has a file open for writing.
const READ_ONLY_WITHIN: Duration = Duration::from_secs(10);
/// A sound disk takes a few bytes much sooner.
const HANGS_FOR: Duration = Duration::from_secs(1);
/// Beside what the process has, and a file system's own.
const ROOM: u64 = 32 << 20;
const FILL: &str = "fill";
const PROBE: &str = "probe";

/// What is wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing more fits on it.
    Full,
    /// The system has mounted it so.
    ReadOnly,
    /// Whoever writes waits.
    Hung,
}

pub struct BadDisk {
    name: &'static str,
    trouble: Trouble,
    folder: PathBuf,
    logs: Vec<Log>,
}

impl BadDisk {
    /// Moves what the process writes to a disk that is still sound, or read-only already.
    pub async fn under(platform: &Platform, name: &'static str, trouble: Trouble) -> Result<Self> {
        let mut disk = Self {
            folder: folder(platform, name)?,
            logs: Vec::new(),
            trouble,
            name,
        };
        disk.stopped(platform).await?;
        disk.mount().await?;
        for log in disk.logs_to_move(platform)? {
            disk.logs.push(Log::move_to(&disk.folder, log)?);
        }
        let sound = disk.insist().await;
        ensure!(sound.is_err(), "a sound disk was taken for a bad one");
        if disk.begins_read_only(platform) {
            disk.remount("ro").await?;
        }
        disk.started(platform).await?;
        Ok(disk)
    }

    async fn mount(&self) -> Result<()> {
        let (image, first) = (
            self.folder.with_extension(SMALL_DISK),
            self.folder.with_extension("disk"),
        );
        fs::create_dir_all(&self.folder)?;
        fs::create_dir_all(&first)?;
        fs::File::create(&image)?.set_len(used(&self.folder).await? * 6 / 5 + ROOM)?;
        succeed(Command::new("mkfs.ext4").args(["-qFm0"]).arg(&image)).await?;
        let mut mount = Command::new("mount");
        succeed(mount.args(["-o", "loop"]).arg(&image).arg(&first)).await?;
        // The disk holds it as long as it is mounted.
        fs::remove_file(&image)?;
        fs::remove_dir(first.join("lost+found")).context("tidying the small disk")?;
        copy(&self.folder, &first).await?;
        let mut again = Command::new("mount");
        succeed(again.arg("--bind").arg(&first).arg(&self.folder)).await?;
        succeed(Command::new("umount").arg(&first)).await?;
        fs::remove_dir(&first).context("tidying the small disk")
    }

    /// A node keeps a file open for writing, so its disk can't become read-only under it.
    fn begins_read_only(&self, platform: &Platform) -> bool {
        self.trouble == Trouble::ReadOnly && is_ours(platform, self.name)
    }

    /// A disk that is read-only from the start keeps a log from being opened: that is its supervisor's trouble.
    fn logs_to_move(&self, platform: &Platform) -> Result<Vec<PathBuf>> {
        if self.trouble == Trouble::ReadOnly || !is_ours(platform, self.name) {
            return Ok(Vec::new());
        }
        let own = data(platform)?
            .join("log")
            .join(format!("{}.log", self.name));
        let access = setting(platform, self.name, "access_log").ok();
        Ok([Some(own), access].into_iter().flatten().collect())
    }

    /// It goes bad.
    pub async fn begin(&self, platform: &Platform) -> Result<()> {
        match self.trouble {
            Trouble::Full => self.fill().await?,
            Trouble::Hung => self.freeze("--freeze").await?,
            Trouble::ReadOnly if is_ours(platform, self.name) => {}
            // So does PostgreSQL; it does not begin on such a disk either.
            Trouble::ReadOnly if self.name == "postgres" => {
                self.stopped(platform).await?;
                self.remount("ro").await?;
                platform.hold(self.name, false).await?;
            }
            Trouble::ReadOnly => {
                wait::outcome(READ_ONLY_WITHIN, || self.remount("ro")).await?;
            }
        }
        if self.name == "redis" {
            // Else it would write after minutes only.
            let mut save = Command::new("redis-cli");
            save.arg("-s").arg(run(platform)?.join("redis.sock"));
            succeed(save.arg("bgsave")).await?;
        }
        Ok(())
    }

    /// Beside the load, which this must not keep waiting.
    async fn fill(&self) -> Result<()> {
        let file = self.folder.join(FILL);
        tokio::task::spawn_blocking(move || fill(&file)).await?
    }

    /// Again, where a process that began anew has given room back.
    pub async fn worsen(&self) -> Result<()> {
        match self.trouble {
            Trouble::Full => self.fill().await,
            Trouble::ReadOnly | Trouble::Hung => Ok(()),
        }
    }

    async fn freeze(&self, how: &str) -> Result<()> {
        let mut freeze = Command::new("fsfreeze");
        succeed(freeze.arg(how).arg(&self.folder)).await.map(drop)
    }

    async fn remount(&self, how: &str) -> Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]);
        succeed(mount.arg(&self.folder)).await.map(drop)
    }

    /// Insists that it is as bad as it was made.
    pub async fn insist(&self) -> Result<()> {
        let probe = self.folder.join(PROBE);
        let writing = tokio::task::spawn_blocking(move || {
            let written = fs::write(&probe, [0; 65_536]);
            let _ = fs::remove_file(&probe);
            written
        });
        let found = match timeout(HANGS_FOR, writing).await {
            Err(_) => Some(Trouble::Hung),
            Ok(written) => match written?.map_err(|error| error.kind()) {
                Err(ErrorKind::StorageFull) => Some(Trouble::Full),
                Err(ErrorKind::ReadOnlyFilesystem) => Some(Trouble::ReadOnly),
                Ok(()) => None,
                Err(other) => bail!("probing a disk: {other}"),
            },
        };
        ensure!(
            found == Some(self.trouble),
            "an invalid run: the disk of {} is {found:?} and not {:?}",
            self.name,
            self.trouble
        );
        Ok(())
    }

    /// Whether its process can be killed, and has to begin with what the disk holds.
    pub fn is_begun_with(&self, platform: &Platform) -> bool {
        // What waits for a disk can't be killed, and a database needs one.
        self.trouble != Trouble::Hung && platform.region_of(self.name).is_ok()
    }

    pub async fn heal(&self) -> Result<()> {
        match self.trouble {
            Trouble::Full => fs::remove_file(self.folder.join(FILL)).context("making room"),
            Trouble::ReadOnly => self.remount("rw").await,
            Trouble::Hung => self.freeze("--unfreeze").await,
        }
    }

    /// Moves all back.
    pub async fn put_away(self, platform: &Platform) -> Result<()> {
        self.stopped(platform).await?;
        for log in &self.logs {
            log.move_back()?;
        }
        let kept = self.folder.with_extension("copy");
        fs::create_dir(&kept)?;
        copy(&self.folder, &kept).await?;
        succeed(Command::new("umount").arg(&self.folder)).await?;
        fs::remove_dir_all(&self.folder)?;
        fs::rename(&kept, &self.folder)?;
        if self.name.starts_with("control-plane") {
            fs::remove_dir(&self.folder).context("a control plane kept more than its log")?;
        }
        self.started(platform).await
    }

    async fn stopped(&self, platform: &Platform) -> Result<()> {
        match is_ours(platform, self.name) {
            true => platform.kill_and_hold(self.name).await?,
            false => platform.hold(self.name, true).await?,
        }
        wait::outcome(HELD_WITHIN, || async {
            let process = platform.process(self.name).await?;
            ensure!(process.pid.is_none(), "{} still runs", self.name);
            Ok(())
        })
        .await
    }

    async fn started(&self, platform: &Platform) -> Result<()> {
        platform.bring_back(self.name).await
    }
}

fn fill(file: &Path) -> Result<()> {
    let mut file = fs::File::create(file)?;
    loop {
        // Page by page, so that nothing is left over.
        match file.write_all(&[0; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).context("filling the disk"),
        }
    }
}

/// Agents, edges and control planes; what else there is has others' programs.
fn is_ours(platform: &Platform, name: &str) -> bool {
    name.starts_with("control-plane") || platform.region_of(name).is_ok()
}

fn data(platform: &Platform) -> Result<&Path> {
    platform.status.ca_file.parent().context("no data folder")
}

fn run(platform: &Platform) -> Result<&Path> {
    data(platform)?.parent().context("no run folder")
}

/// What a process keeps: a node's state, or its data. A control plane keeps nothing but its log.
fn folder(platform: &Platform, name: &str) -> Result<PathBuf> {
    match platform.region_of(name) {
        Ok(_) => setting(platform, name, "state_dir"),
        Err(_) => Ok(data(platform)?.join(name)),
    }
}

fn setting(platform: &Platform, name: &str, key: &str) -> Result<PathBuf> {
    let file = data(platform)?.join("config").join(format!("{name}.toml"));
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let config: toml::Table = text.parse()?;
    match config.get(key).and_then(toml::Value::as_str) {
        Some(path) => Ok(path.into()),
        None => bail!("{} names no {key}", file.display()),
    }
}

async fn used(folder: &Path) -> Result<u64> {
    let said = succeed(Command::new("du").args(["-sb"]).arg(folder)).await?;
    let bytes = said.stdout.split_whitespace().next();
    Ok(bytes.context("du says nothing")?.parse()?)
}

/// With owners and modes.
async fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("--archive").arg(from.join(".")).arg(to);
    succeed(&mut copy).await.map(drop)
}
