//! What the platform mounts: its folder at a place that every user reaches, and one disk of limited size
//! per build engine. All of it below the platform's run folder, so that `down` finds it again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::plan::{Plan, Region};
use crate::command::{CommandExt as _, command};

/// What all builds of a node may fill.
const BUILD_DISK: &str = "12G";

/// Mounts the platform's folder below its run folder.
pub fn ensure_data(plan: &Plan) -> Result<()> {
    fs::create_dir_all(&plan.dir).with_context(|| format!("making {}", plan.dir.display()))?;
    let data = plan.data();
    if mounted_below(&data)?.contains(&data) {
        return Ok(());
    }
    fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    command([
        "mount".as_ref(),
        "--bind".as_ref(),
        plan.dir.as_os_str(),
        data.as_os_str(),
    ])
    .read()?;
    // Else an engine's mounts would show up a second time below the checkout.
    command([
        "mount".as_ref(),
        "--make-private".as_ref(),
        data.as_os_str(),
    ])
    .read()?;
    Ok(())
}

/// Mounts the file that holds a build engine's data and limits its size.
pub fn ensure_build_disk(region: &Region) -> Result<()> {
    let (file, target) = (region.data("build.ext4"), region.run("build-disk"));
    if mounted_below(&target)?.contains(&target) {
        return Ok(());
    }
    fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
    if !file.exists() {
        make_disk(&file)?;
    }
    command([
        "mount".as_ref(),
        "-o".as_ref(),
        "loop,nosuid,nodev".as_ref(),
        file.as_os_str(),
        target.as_os_str(),
    ])
    .read()
    .map(drop)
}

/// Lets disks go on that a test which was ended has frozen: whoever waits for one can't be ended, nor it be unmounted.
pub fn thaw(plan: &Plan) -> Result<()> {
    for target in mounted_below(&plan.run())? {
        // All that are not frozen refuse.
        command([
            "fsfreeze".as_ref(),
            "--unfreeze".as_ref(),
            target.as_os_str(),
        ])
        .succeeds();
    }
    Ok(())
}

/// Unmounts everything below the platform's run folder, the last mounted first. Lazily: somebody who looks
/// into a log or stands in the folder is no reason to fail, and nothing of the platform runs any more.
pub fn remove(plan: &Plan) -> Result<()> {
    for target in mounted_below(&plan.run())?.into_iter().rev() {
        command(["umount".as_ref(), "--lazy".as_ref(), target.as_os_str()]).read()?;
    }
    Ok(())
}

fn make_disk(file: &Path) -> Result<()> {
    let draft = file.with_extension("new");
    fs::create_dir_all(file.parent().context("a disk without a folder")?)?;
    command([
        "truncate".as_ref(),
        "--size".as_ref(),
        BUILD_DISK.as_ref(),
        draft.as_os_str(),
    ])
    .read()?;
    command([
        "mkfs.ext4".as_ref(),
        "-q".as_ref(),
        "-m0".as_ref(),
        draft.as_os_str(),
    ])
    .read()?;
    fs::rename(&draft, file).with_context(|| format!("making {}", file.display()))
}

fn mounted_below(top: &Path) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
    Ok(table
        .lines()
        .filter_map(|line| Some(PathBuf::from(line.split_whitespace().nth(4)?)))
        .filter(|target| target.starts_with(top))
        .collect())
}
