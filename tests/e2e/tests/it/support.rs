//! What several tests ask of the example applications.

use std::path::{Path, PathBuf};

use anyhow::Result;

pub use e2e::example::{about, answers_from, hello};

/// The folder of an example.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name)
}

/// A copy of an example's files that a test may change.
pub fn copy_example(name: &str) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for entry in std::fs::read_dir(example(name))? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
    }
    Ok(folder)
}
