//! A small disk of its own under all that a process writes: its folder and its logs. It fills up, can't be written to
//! any more, or hangs, and nobody else's does.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{
    command::succeed,
    fault::{FILL, SMALL_DISK},
    platform::Platform,
    wait,
};
use nix::fcntl::posix_fallocate;
use tokio::{process::Command, time::timeout};

use super::{
    fault::REGISTRY,
    log::Log,
    place::{Place, Program},
};

const HELD_WITHIN: Duration = Duration::from_secs(60);
/// Until nobody has a file open for writing.
const READ_ONLY_WITHIN: Duration = Duration::from_secs(10);
/// What was copied to it just before may have to be written first.
const SOUND_WITHIN: Duration = Duration::from_secs(30);
/// A sound disk takes a few bytes much sooner.
const HANGS_FOR: Duration = Duration::from_secs(1);
/// Beside what the process has, and a file system's own: enough for the images of another service. It is only promised.
const ROOM: u64 = 512 << 20;
const PROBE: &str = "probe";
/// What is taken of a disk at once, as long as there is so much.
const CHUNKS: [i64; 2] = [1 << 30, 1 << 22];

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
    program: Program,
    logs: Vec<Log>,
}

impl BadDisk {
    /// Moves what the process writes to a disk that is still sound, or read-only already.
    pub async fn under(platform: &Platform, name: &'static str, trouble: Trouble) -> Result<Self> {
        let place = Place::of(platform, name)?;
        let logs = match trouble {
            // A disk that is read-only from the start keeps a log from being opened: that is its supervisor's trouble.
            Trouble::ReadOnly => Vec::new(),
            Trouble::Full | Trouble::Hung => place.logs(platform, name)?,
        };
        let mut disk = Self {
            folder: place.folder,
            program: place.program,
            logs: Vec::new(),
            trouble,
            name,
        };
        match disk.program {
            Program::FixedDisk => disk.is_sound().await?,
            _ => disk.moved(platform, logs).await?,
        }
        Ok(disk)
    }

    async fn moved(&mut self, platform: &Platform, logs: Vec<PathBuf>) -> Result<()> {
        self.stopped(platform).await?;
        self.mount().await?;
        for log in logs {
            self.logs.push(Log::move_to(&self.folder, log)?);
        }
        self.is_sound().await?;
        // A node keeps a file open for writing, so its disk can't become read-only under it.
        if self.trouble == Trouble::ReadOnly && self.program.is_ours() {
            self.remount("ro").await?;
        }
        self.started(platform).await
    }

    /// Insists that it takes what is written, so that whatever is found later is the trouble that was made.
    async fn is_sound(&self) -> Result<()> {
        wait::outcome(SOUND_WITHIN, || async {
            let found = self.found().await?;
            let disk = self.name;
            ensure!(found.is_none(), "a sound disk, of {disk}, is {found:?}");
            Ok(())
        })
        .await
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

    /// It goes bad.
    pub async fn begin(&self, platform: &Platform) -> Result<()> {
        match self.trouble {
            Trouble::Full => self.fill().await?,
            Trouble::Hung => self.freeze("--freeze").await?,
            Trouble::ReadOnly if self.program.is_ours() => {}
            // So do these; they do not begin on such a disk either.
            Trouble::ReadOnly if self.keeps_files_open() => {
                self.stopped(platform).await?;
                wait::outcome(READ_ONLY_WITHIN, || self.remount("ro")).await?;
                platform.hold(self.name, false).await?;
            }
            Trouble::ReadOnly => {
                wait::outcome(READ_ONLY_WITHIN, || self.remount("ro")).await?;
            }
        }
        if self.name == "redis" {
            // Else it would write after minutes only.
            let mut save = Command::new("redis-cli");
            let socket = platform.data()?.with_file_name("redis.sock");
            save.arg("-s").arg(socket);
            succeed(save.arg("bgsave")).await?;
        }
        Ok(())
    }

    /// For writing, all the time.
    fn keeps_files_open(&self) -> bool {
        self.name == "postgres" || self.program == Program::FixedDisk
    }

    /// Beside the load, which this must not keep waiting.
    async fn fill(&self) -> Result<()> {
        let file = self.folder.join(FILL);
        tokio::task::spawn_blocking(move || fill(&file)).await?
    }

    /// Again, where a process has given room back.
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
        // Else it forgets these of a disk that had them.
        mount.args(["-o", &format!("remount,{how},nosuid,nodev")]);
        succeed(mount.arg(&self.folder)).await.map(drop)
    }

    /// Insists that it is as bad as it was made.
    pub async fn insist(&self) -> Result<()> {
        let found = self.found().await?;
        ensure!(
            found == Some(self.trouble),
            "an invalid run: the disk of {} is {found:?} and not {:?}",
            self.name,
            self.trouble
        );
        Ok(())
    }

    /// What somebody finds who writes a few bytes.
    async fn found(&self) -> Result<Option<Trouble>> {
        let probe = self.folder.join(PROBE);
        let writing = tokio::task::spawn_blocking(move || {
            let written = fs::write(&probe, [0; 65_536]);
            let _ = fs::remove_file(&probe);
            written
        });
        Ok(match timeout(HANGS_FOR, writing).await {
            Err(_) => Some(Trouble::Hung),
            Ok(written) => match written?.map_err(|error| error.kind()) {
                Err(ErrorKind::StorageFull) => Some(Trouble::Full),
                Err(ErrorKind::ReadOnlyFilesystem) => Some(Trouble::ReadOnly),
                Ok(()) => None,
                Err(other) => bail!("probing the disk of {}: {other}", self.name),
            },
        })
    }

    /// Whether its process can be killed, and has to begin with what the disk holds.
    pub fn is_begun_with(&self) -> bool {
        // What waits for a disk can't be killed, and databases and engines need one.
        let begins = self.program == Program::Node || self.name == REGISTRY;
        self.trouble != Trouble::Hung && begins
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
        if self.program == Program::FixedDisk {
            return self.started(platform).await;
        }
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
        if self.program == Program::ControlPlane {
            fs::remove_dir(&self.folder).context("a control plane kept more than its log")?;
        }
        self.started(platform).await
    }

    async fn stopped(&self, platform: &Platform) -> Result<()> {
        match self.program.is_ours() {
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
    let mut file = fs::File::options().create(true).append(true).open(file)?;
    let mut end = file.metadata()?.len().cast_signed();
    // What is only promised costs nothing below, however large the disk is.
    for chunk in CHUNKS {
        while posix_fallocate(&file, end, chunk).is_ok() {
            end += chunk;
        }
    }
    loop {
        // Page by page, so that nothing is left over.
        match file.write_all(&[0; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).context("filling the disk"),
        }
    }
}

async fn used(folder: &Path) -> Result<u64> {
    // In blocks: a registry has thousands of files of some bytes each.
    let said = succeed(Command::new("du").args(["-sB1"]).arg(folder)).await?;
    let bytes = said.stdout.split_whitespace().next();
    Ok(bytes.context("du says nothing")?.parse()?)
}

/// With owners and modes.
async fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("--archive").arg(from.join(".")).arg(to);
    succeed(&mut copy).await.map(drop)
}
