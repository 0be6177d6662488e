//! The programs of the last release, built once and kept: an upgrade is tested against what users run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    cargo::{as_caller, cargo, git, target_dir, workspace},
    command::CommandExt as _,
    dev::up::BINARIES,
    output::say,
};

/// Names the last release: its tag and its commit. Checked in, because a clone need not have tags.
const FILE: &str = "packaging/last-release";

/// A release.
#[derive(Debug, PartialEq, Eq)]
struct Release {
    tag: String,
    commit: String,
}

/// The folder with the programs of the last release.
pub fn last() -> Result<PathBuf> {
    let file = workspace()?.join(FILE);
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let release = read(&text)?;
    let (tag, commit) = (&release.tag, &release.commit);
    git(["cat-file", "-e", &format!("{commit}^{{commit}}")])?
        .run()
        .with_context(|| {
            format!("{tag}, the last release, is not in this clone: git fetch --unshallow")
        })?;
    let folder = target_dir()?.join("releases").join(tag);
    let programs = folder.join("bin");
    if !programs.exists() {
        say!("building {tag}, the last release, once (some minutes)");
        build(commit, &folder).with_context(|| format!("building {tag}"))?;
    }
    Ok(programs)
}

fn read(text: &str) -> Result<Release> {
    let mut words = text.split_whitespace().map(str::to_owned);
    let (Some(tag), Some(commit), None) = (words.next(), words.next(), words.next()) else {
        bail!("{FILE} must be a tag and a commit, and is: {text:?}");
    };
    Ok(Release { tag, commit })
}

/// Leaves nothing but the programs.
fn build(commit: &str, folder: &Path) -> Result<()> {
    let (source, target) = (folder.join("source"), folder.join("target"));
    for left in [&source, &target] {
        if left.exists() {
            fs::remove_dir_all(left)?;
        }
    }
    as_caller("mkdir").arg("--parents").arg(&source).run()?;
    unpack(commit, &source)?;
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

fn unpack(commit: &str, folder: &Path) -> Result<()> {
    let mut archive = git(["archive", commit])?
        .stdout(Stdio::piped())
        .spawn()
        .context("starting git archive")?;
    let tar = archive.stdout.take().context("git archive says nothing")?;
    let mut unpacked = as_caller("tar");
    unpacked.args(["--extract", "--directory"]).arg(folder);
    unpacked.stdin(tar).run()?;
    ensure!(archive.wait()?.success(), "git archive {commit} failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_release_is_a_tag_and_a_commit_of_this_clone() {
        let file = workspace().unwrap().join(FILE);
        let release = read(&fs::read_to_string(file).unwrap()).unwrap();
        assert!(release.tag.starts_with('v'), "{release:?}");
        let ancestor = ["merge-base", "--is-ancestor", &release.commit, "HEAD"];
        assert!(git(ancestor).unwrap().run().is_ok(), "{release:?}");
        assert!(read("v0.1.0").is_err() && read("").is_err());
    }
}
