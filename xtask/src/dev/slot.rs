//! A platform's place on the machine, 0–15: it decides addresses, ports and names. A claim is a folder
//! under `/run/railhead` that says whose it is, taken under a lock; a restart of the machine frees all.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};

const CLAIMS: &str = "/run/railhead";
const SLOTS: u8 = 16;

/// A platform's place on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u8);

impl Slot {
    /// The slot of that number, when there is one.
    pub fn new(number: u8) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// 0–15.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Second byte of the platform's own addresses.
    pub fn network(self) -> u8 {
        96 + self.0
    }

    /// Second byte of its containers' addresses.
    pub fn containers(self) -> u8 {
        112 + self.0
    }

    /// `rh0-us-east`: namespaces and interfaces carry the slot.
    pub fn name(self, rest: &str) -> String {
        format!("rh{}-{rest}", self.0)
    }

    /// The parent of the platform's cgroups.
    pub fn cgroup(self) -> String {
        format!("railhead-{}", self.0)
    }

    /// Sockets, pid files and state.
    pub fn run(self) -> PathBuf {
        Path::new(CLAIMS).join(self.0.to_string())
    }

    fn owner_file(self) -> PathBuf {
        self.run().join("owner")
    }

    fn owner(self) -> Option<PathBuf> {
        fs::read_to_string(self.owner_file()).ok().map(Into::into)
    }
}

/// The slot that the platform in `dir` has, if any.
pub fn held(dir: &Path) -> Option<Slot> {
    all().find(|slot| slot.owner().as_deref() == Some(dir))
}

/// The slot that the platform in `dir` has, or else the first free one, from now on its own.
/// `last` is the one it had before: taken again when free, because its data knows the addresses.
pub fn claim(dir: &Path, last: Option<Slot>) -> Result<Slot> {
    let _guard = lock()?;
    if let Some(slot) = held(dir) {
        return Ok(slot);
    }
    let free = match last {
        Some(last) if last.owner().is_some() => bail!(
            "{} was made in slot {}, which {} has now; take that one down first, or start anew with ./dev down --wipe",
            dir.display(),
            last.0,
            last.owner().unwrap_or_default().display()
        ),
        Some(last) => last,
        None => all()
            .find(|slot| slot.owner().is_none())
            .context("all 16 slots are taken; end a platform with ./dev down")?,
    };
    fs::create_dir_all(free.run()).with_context(|| format!("making {}", free.run().display()))?;
    fs::write(free.owner_file(), dir.as_os_str().as_encoded_bytes())
        .with_context(|| format!("claiming slot {}", free.0))?;
    Ok(free)
}

/// Frees the slot; the caller has ended and unmounted everything in it. What is still mounted there
/// makes `remove_dir` fail before anything is deleted.
pub fn release(slot: Slot) -> Result<()> {
    let _guard = lock()?;
    let mounted = slot.run().join("data");
    match fs::remove_dir(&mounted) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", mounted.display()));
        }
        _ => {}
    }
    fs::remove_dir_all(slot.run()).with_context(|| format!("freeing slot {}", slot.0))
}

fn all() -> impl Iterator<Item = Slot> {
    (0..SLOTS).map(Slot)
}

fn lock() -> Result<Flock<File>> {
    fs::create_dir_all(CLAIMS).with_context(|| format!("making {CLAIMS}"))?;
    let path = Path::new(CLAIMS).join("lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("locking {}", path.display()))
}
