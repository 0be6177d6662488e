//! Small disks that tests put under what a process writes, to spoil them.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

/// In the name of such a disk's image.
pub const SMALL_DISK: &str = "railhead-small-disk";

/// Unmounts those below a folder that a test which was killed has left. The state below, older than what was
/// on them, is one that its process must cope with.
pub fn remove_small_disks(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("reading /proc/mounts")?;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (source, target) = (words.next(), words.next());
        if let (Some(source), Some(target)) = (source, target)
            && Path::new(target).starts_with(folder)
            && is_small_disk(source)
        {
            // Only one that hangs can be thawed; and it can't be unmounted before.
            run("fsfreeze", &["--unfreeze", target])?;
            let ended = run("umount", &["--lazy", target])?;
            ensure!(ended, "{target} can't be unmounted");
        }
    }
    Ok(())
}

/// By the file behind `/dev/loop…`, which may be removed already.
fn is_small_disk(device: &str) -> bool {
    let Some(name) = device.strip_prefix("/dev/") else {
        return false;
    };
    let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file"));
    file.is_ok_and(|file| file.contains(SMALL_DISK))
}

fn run(program: &str, words: &[&str]) -> Result<bool> {
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("running {program}"))?;
    Ok(output.status.success())
}
