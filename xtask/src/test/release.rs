//! The programs of the last release, built once and kept: an upgrade is tested against what users run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    cargo::{as_caller, cargo, git, target_dir},
    command::CommandExt as _,
    dev::up::BINARIES,
    output::say,
};

/// The folder with the programs of the last tagged release; none where the checkout knows no release.
pub fn last() -> Result<Option<PathBuf>> {
    let Ok(tag) = git(["describe", "--tags", "--abbrev=0", "--match", "v*"])?.read() else {
        return Ok(None);
    };
    let tag = tag.trim();
    let folder = target_dir()?.join("releases").join(tag);
    let programs = folder.join("bin");
    if !programs.exists() {
        say!("building {tag}, the last release, once (some minutes)");
        build(tag, &folder).with_context(|| format!("building {tag}"))?;
    }
    Ok(Some(programs))
}

/// Leaves nothing but the programs.
fn build(tag: &str, folder: &Path) -> Result<()> {
    let (source, target) = (folder.join("source"), folder.join("target"));
    for left in [&source, &target] {
        if left.exists() {
            fs::remove_dir_all(left)?;
        }
    }
    as_caller("mkdir").arg("--parents").arg(&source).run()?;
    unpack(tag, &source)?;
    cargo(["build", "--quiet", "--workspace", "--bins"])?
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", &target)
        .run()?;
    let draft = folder.join("bin.new");
    fs::create_dir_all(&draft)?;
    for name in BINARIES {
        fs::copy(target.join("debug").join(name), draft.join(name))
            .with_context(|| format!("keeping {name}"))?;
    }
    fs::remove_dir_all(&source)?;
    fs::remove_dir_all(&target)?;
    fs::rename(&draft, folder.join("bin")).context("keeping the programs")
}

fn unpack(tag: &str, folder: &Path) -> Result<()> {
    let mut archive = git(["archive", tag])?
        .stdout(Stdio::piped())
        .spawn()
        .context("starting git archive")?;
    let tar = archive.stdout.take().context("git archive says nothing")?;
    let mut unpacked = as_caller("tar");
    unpacked.args(["--extract", "--directory"]).arg(folder);
    unpacked.stdin(tar).run()?;
    ensure!(archive.wait()?.success(), "git archive {tag} failed");
    Ok(())
}
