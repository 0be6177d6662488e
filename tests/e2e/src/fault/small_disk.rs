//! Small disks that tests put under a process's state, to fill them.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

/// What such a disk is called in the table of mounts.
pub const SMALL_DISK: &str = "railhead-small-disk";

/// Unmounts those below a folder that a test which was killed has left. The state below, older than what was
/// on them, is one that its process must cope with.
pub fn remove_small_disks(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("reading the table of mounts")?;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (source, target) = (words.next(), words.next());
        if let Some(target) = target.filter(|target| Path::new(target).starts_with(folder))
            && source == Some(SMALL_DISK)
        {
            let ended = Command::new("umount").args(["--lazy", target]).status()?;
            ensure!(ended.success(), "unmounting {target} ended with {ended}");
        }
    }
    Ok(())
}
