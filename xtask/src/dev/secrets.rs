//! Passwords and keys of the local platform: made once, kept in files that only root reads.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result};

use super::plan::Plan;

/// The secret of that name: 32 random bytes in hexadecimal, the same at every call.
pub fn ensure(plan: &Plan, name: &str) -> Result<String> {
    let path = plan.secret_file(name);
    if path.exists() {
        return fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()));
    }
    let value = hex::encode(rand::random::<[u8; 32]>());
    write(&path, &value)?;
    Ok(value)
}

/// Writes a file that only root reads.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a secret without a folder")?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("making {}", folder.display()))?;
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}
