//! What the supervisor is asked to keep running: one JSON file per process below the platform's run
//! folder. The folder is the desired state; the supervisor makes the machine match it.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::plan::{Plan, netns_path};

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Unique within the platform; also its log's name.
    pub name: String,
    /// Processes are stopped from the highest to the lowest.
    pub order: u32,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to the environment.
    pub environment: BTreeMap<String, String>,
    /// The namespace it runs in; the machine's own when absent.
    pub netns: Option<PathBuf>,
    /// The system's user it runs as; root when absent.
    pub user: Option<String>,
    /// When it counts as ready.
    pub ready: Ready,
    /// It must say `WATCHDOG=1` within that time or is restarted.
    pub watchdog_seconds: Option<u64>,
    /// Asks it to end.
    pub stop_signal: StopSignal,
    /// Then it is killed.
    pub stop_timeout_seconds: u64,
    /// Between its end and the next start; doubles while it goes on failing.
    pub restart_delay_ms: u64,
    /// Changes when the program or its configuration does, so that it is restarted.
    pub fingerprint: String,
}

/// When a process counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// When it says `READY=1` (sd_notify).
    Notify,
    /// When it has started.
    Started,
}

/// The signal that asks a process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopSignal {
    /// The usual one.
    Terminate,
    /// PostgreSQL's fast shutdown.
    Interrupt,
}

impl Process {
    /// A process that says when it is ready.
    pub fn new<I: Into<String>>(name: &str, order: u32, argv: impl IntoIterator<Item = I>) -> Self {
        Self {
            name: name.to_owned(),
            order,
            argv: argv.into_iter().map(Into::into).collect(),
            environment: BTreeMap::new(),
            netns: None,
            user: None,
            ready: Ready::Notify,
            watchdog_seconds: None,
            stop_signal: StopSignal::Terminate,
            stop_timeout_seconds: 10,
            restart_delay_ms: 100,
            fingerprint: String::new(),
        }
    }

    /// Adds a variable to its environment.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// One of our programs: tests end it at named points (`crates/failpoint`), which are armed in a folder of
    /// its own.
    pub fn with_failpoints(self, plan: &Plan) -> Self {
        let folder = plan.run().join("failpoints").join(&self.name);
        self.env("RAILHEAD_FAILPOINTS", folder.display().to_string())
    }

    /// Runs it in a namespace.
    pub fn in_netns(mut self, name: &str) -> Self {
        self.netns = Some(netns_path(name));
        self
    }

    /// Restarts it when one of these files changes.
    pub fn changes_with(mut self, files: &[&Path]) -> Result<Self> {
        let marks: Result<Vec<_>> = files.iter().map(|file| mark(file)).collect();
        self.fingerprint = marks?.join(" ");
        Ok(self)
    }
}

/// Asks the supervisor to run it.
pub fn want(plan: &Plan, process: &Process) -> Result<()> {
    let path = folder(plan).join(format!("{}.json", process.name));
    let text = serde_json::to_string_pretty(process)?;
    if fs::read_to_string(&path).is_ok_and(|last| last == text) {
        return Ok(());
    }
    write_whole(&path, &text)
}

/// All processes that are asked for.
pub fn wanted(plan: &Plan) -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for path in json_files(&folder(plan))? {
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        found.push(
            serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?,
        );
    }
    Ok(found)
}

/// Asks for nothing any more, so that the next supervisor starts in the order of `up`.
pub fn forget_all(plan: &Plan) -> Result<()> {
    remove_folder(&folder(plan))?;
    release_all(plan)
}

/// Lets every held process run again.
pub fn release_all(plan: &Plan) -> Result<()> {
    remove_folder(&held_folder(plan))
}

/// Keeps a process stopped (or lets it run again): for tests and for taking a part away by hand.
pub fn hold(plan: &Plan, name: &str, held: bool) -> Result<()> {
    let path = hold_file(plan, name);
    if held {
        fs::create_dir_all(held_folder(plan))?;
        return fs::write(&path, "").with_context(|| format!("writing {}", path.display()));
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whether a process is kept stopped.
pub fn is_held(plan: &Plan, name: &str) -> bool {
    hold_file(plan, name).exists()
}

/// Writes a file so that a reader sees the old text or the new one, never half.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let draft = path.with_extension("new");
    fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
    fs::rename(&draft, path).with_context(|| format!("writing {}", path.display()))
}

/// The words before a command that make it run as another user of the system.
pub fn as_user(user: &str) -> Vec<String> {
    [
        "setpriv",
        "--reuid",
        user,
        "--regid",
        user,
        "--init-groups",
        "--",
    ]
    .map(str::to_owned)
    .into()
}

fn hold_file(plan: &Plan, name: &str) -> PathBuf {
    held_folder(plan).join(name)
}

fn held_folder(plan: &Plan) -> PathBuf {
    plan.run().join("held")
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn folder(plan: &Plan) -> PathBuf {
    plan.run().join("processes")
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("reading {}", folder.display()))?,
    };
    let mut files: Vec<_> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    files.sort();
    Ok(files)
}

fn mark(file: &Path) -> Result<String> {
    let meta = fs::metadata(file).with_context(|| format!("reading {}", file.display()))?;
    let modified = meta.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
    Ok(format!("{}:{modified}", meta.len()))
}
