//! The platform that whole-system tests run against: its own folder and slot, made from nothing for each
//! run, taken down after it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{cargo::workspace, dev, output::say};

/// A running platform.
pub struct TestPlatform {
    dir: PathBuf,
}

impl TestPlatform {
    /// Brings it up from nothing.
    pub fn start() -> Result<Self> {
        let dir = workspace()?.join(".dev-test");
        dev::down(&dir, true)?;
        say!("test platform:");
        dev::up_for_tests(&dir)?;
        Ok(Self { dir })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes it down; its data stays for a look at what failed.
    pub fn end(self) -> Result<()> {
        dev::down(&self.dir, false)
    }
}
