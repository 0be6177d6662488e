//! One log file per process, bounded: past the limit the newest part moves aside and the file begins
//! anew. Processes write themselves; the supervisor only adds what it did.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::dev::plan::Plan;

const SIZE_MAX: u64 = 32 * 1024 * 1024;

/// The log of a process, for appending.
pub fn open(plan: &Plan, name: &str) -> Result<File> {
    let path = plan.log(name);
    let folder = path.parent().context("a log without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))
}

/// A line of the supervisor's own in a process's log. A log that can't be written is no reason to stop
/// supervising; the supervisor's own log gets the line then.
pub fn note(plan: &Plan, name: &str, text: &str) {
    let line = format!("supervisor: {name}: {text}\n");
    let written = open(plan, name).and_then(|mut log| Ok(log.write_all(line.as_bytes())?));
    if let Err(error) = written {
        eprintln!("{line}supervisor: {error:#}");
    }
}

/// Bounds every log. One that can't be bounded (it may be elsewhere just now) is no reason to stop supervising.
pub fn bound_all(plan: &Plan) {
    let bounded = logs(plan).map(|logs| {
        for error in logs.iter().filter_map(|log| bound(log).err()) {
            eprintln!("supervisor: {error:#}");
        }
    });
    if let Err(error) = bounded {
        eprintln!("supervisor: {error:#}");
    }
}

fn logs(plan: &Plan) -> Result<Vec<PathBuf>> {
    let folder = plan.data().join("log");
    let entries = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.with_context(|| format!("reading {}", folder.display()))?;
    let paths = entries.iter().map(fs::DirEntry::path);
    Ok(paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect())
}

/// The writer holds the file open for appending, so it is emptied in place.
fn bound(path: &Path) -> Result<()> {
    let log = OpenOptions::new().write(true).open(path);
    let log = log.with_context(|| format!("bounding {}", path.display()))?;
    if log.metadata()?.len() > SIZE_MAX {
        fs::copy(path, path.with_extension("log.1"))
            .with_context(|| format!("copying {}", path.display()))?;
        log.set_len(0)?;
    }
    Ok(())
}
