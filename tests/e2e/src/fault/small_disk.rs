//! Small disks that tests put under what a process writes, to spoil them.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

/// In the name of such a disk's image.
pub const SMALL_DISK: &str = "railhead-small-disk";

/// The file that takes all the room.
pub const FILL: &str = "fill";

/// Takes away what a test that was killed has done to a disk that is always there, if it is.
pub fn heal_disk(folder: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("reading /proc/mounts")?;
    let Some(options) = options_of(folder, &mounts) else {
        return Ok(());
    };
    let path = folder.display().to_string();
    // Only one that hangs can be thawed.
    run("fsfreeze", &["--unfreeze", &path])?;
    if options.split(',').any(|option| option == "ro") {
        let healed = run("mount", &["-o", "remount,rw,nosuid,nodev", &path])?;
        ensure!(healed, "{path} stays read-only");
    }
    let fill = folder.join(FILL);
    if fill.exists() {
        fs::remove_file(&fill).with_context(|| format!("removing {}", fill.display()))?;
    }
    Ok(())
}

/// How a folder is mounted.
fn options_of<'a>(folder: &Path, mounts: &'a str) -> Option<&'a str> {
    let mut lines = mounts.lines().rev();
    lines.find_map(|line| {
        let mut words = line.split(' ').skip(1);
        (Path::new(words.next()?) == folder).then(|| words.nth(1))?
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_among_mounts() {
        let mounts =
            "/dev/vda / ext4 rw,relatime 0 0\n/dev/loop3 /run/x/build-disk ext4 ro,nosuid 0 0\n";
        let of = |folder: &str| options_of(Path::new(folder), mounts);
        assert_eq!(of("/run/x/build-disk"), Some("ro,nosuid"));
        assert_eq!(of("/run/x"), None);
    }
}
