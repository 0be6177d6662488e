//! The platforms that whole-system tests run against: folders and slots of their own, made from nothing for each
//! run, taken down after it. A test that kills or measures has one for itself, so several save time.

use std::{env, fs, path::PathBuf, process::Command, thread};

use anyhow::{Context as _, Result};
use chrono::Utc;

use crate::{
    cargo::workspace,
    dev::{self, up::join},
    output::say,
};

/// Running platforms.
pub struct TestPlatforms {
    dirs: Vec<PathBuf>,
}

impl TestPlatforms {
    /// Brings them up from nothing, side by side, each with so many control planes.
    pub fn start(control_planes: &[u8]) -> Result<Self> {
        let workspace = workspace()?;
        let dirs = (1..=control_planes.len()).map(|n| workspace.join(format!(".dev-test-{n}")));
        let dirs: Vec<_> = dirs.collect();
        for dir in &dirs {
            dev::down(dir, true)?;
        }
        say!("test platforms:");
        thread::scope(|scope| {
            let coming = dirs
                .iter()
                .zip(control_planes)
                .map(|(dir, count)| scope.spawn(move || dev::up_for_tests(dir, *count)));
            let coming: Vec<_> = coming.collect();
            coming.into_iter().try_for_each(join)
        })?;
        Ok(Self { dirs })
    }

    /// Says where they are.
    pub fn tell(&self, tests: &mut Command) -> Result<()> {
        let all =
            env::join_paths(&self.dirs).context("a checkout's folder with a colon in its name")?;
        tests.env("RAILHEAD_TEST_PLATFORMS", all);
        Ok(())
    }

    /// Takes them down; their data stays for a look at what failed.
    pub fn end(self) -> Result<()> {
        self.dirs.iter().try_for_each(|dir| dev::down(dir, false))
    }

    /// Takes them down and keeps their logs beside them, where the next start does not wipe them.
    pub fn put_aside(self) -> Result<()> {
        for dir in &self.dirs {
            dev::down(dir, false)?;
            let kept = dir.with_extension(format!("failed-{}", Utc::now().timestamp()));
            fs::rename(dir.join("log"), &kept)
                .with_context(|| format!("keeping logs in {}", kept.display()))?;
        }
        Ok(())
    }
}
