//! `cargo xtask tidy`: the house rules of docs/ARCHITECTURE.md that a machine can check. Each finding
//! names the file, the rule and the reason.

mod dependencies;
mod documented_tests;
mod layers;
mod migrations;
mod text;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    cargo::workspace,
    command::{CommandExt as _, command},
    output::say,
};

/// A file of the checkout, path relative to its top.
pub struct SourceFile {
    /// As git names it.
    pub path: String,
    /// Its text; binary files are left out.
    pub text: String,
}

/// Fails when any rule is broken; warnings are printed only.
pub fn run() -> Result<()> {
    let files = source_files()?;
    let mut findings = dependencies::check()?;
    findings.extend(files.iter().flat_map(layers::check));
    findings.extend(files.iter().flat_map(text::check));
    findings.extend(documented_tests::check(&files));
    findings.extend(migrations::check(&files));
    for warning in files.iter().filter_map(text::long_file) {
        say!("tidy: warning: {warning}");
    }
    if findings.is_empty() {
        say!("tidy: {} files, no findings", files.len());
        return Ok(());
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    bail!("{} broken house rules", findings.len())
}

fn source_files() -> Result<Vec<SourceFile>> {
    let top = workspace()?;
    let listed = command([
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ])
    .current_dir(&top)
    .read()?;
    let mut files = Vec::new();
    for path in listed.lines() {
        if let Some(text) = read_text(&top.join(path))? {
            files.push(SourceFile {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

/// The file's text; nothing for a binary file or one that git still lists and the disk has no more.
fn read_text(path: &PathBuf) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8(bytes).ok())
}
