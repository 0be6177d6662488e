//! Ends what a kill of the engine amid the start of a container leaves: a task, half made and held by its shim, of which
//! the engine knows nothing, and at which every further start of this container fails ("task …: already exists"). The
//! engine's own records say which containers run; those, and other engines' containers, are left alone (docs/adr/0047).

mod begun;
mod folders;

pub use begun::mark;
pub use folders::remove_unbegun;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;

/// One for each container, for as long as it has a task; the rest of the name is the runtime's.
const SHIM: &str = "containerd-shim";
/// What comes before the container's id among a shim's arguments.
const ID: &str = "-id";
/// In the folder of a task: what a shim writes before anything else, and containerd removes the task by.
const WRITTEN_FIRST: &str = "runtime";

/// Why what is left of a start can't be ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("can't read {path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The engine's record of a container is none.
    #[error("can't read {path}, the engine's record of a container: {source}")]
    Record {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// What is to be remembered of a container can't be written.
    #[error("can't note in {path} that a program has begun: {source}")]
    Note {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder of a task can't be removed.
    #[error("can't remove {path}, the folder of a task that its shim has not begun: {source}")]
    Remove {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The shim can't be ended.
    #[error("can't end the shim of container {container}, process {pid}: {source}")]
    Kill {
        /// Of which container.
        container: String,
        /// The shim.
        pid: i32,
        /// Why.
        source: nix::Error,
    },
}

/// For the engine with this data folder, which must not run: ends the shims of its containers that do not run. The
/// rest of their tasks is containerd's to remove when it starts, where it can. The containers.
///
/// # Errors
/// When a record or a process can't be read, a shim can't be ended, or a folder can't be removed.
pub fn end_cut_off_starts(data_root: &Path) -> Result<Vec<String>, Error> {
    let mut ended = Vec::new();
    for shim in shims()? {
        if runs(data_root, &shim.container)? == Some(false) {
            shim.mark_begun(data_root)?;
            if !shim.end()? {
                continue;
            }
            shim.remove_unbegun()?;
            ended.push(shim.container);
        }
    }
    Ok(ended)
}

/// Of a container's task.
struct Shim {
    pid: i32,
    container: String,
    /// The folder of the task; none of a process that has ended meanwhile.
    task: Option<PathBuf>,
}

impl Shim {
    /// Its program must not be taken for one that never ran.
    fn mark_begun(&self, data_root: &Path) -> Result<(), Error> {
        match &self.task {
            Some(task) if begun::has_begun(task) => begun::note(data_root, &self.container),
            _ => Ok(()),
        }
    }

    /// Whether it has not ended by itself.
    fn end(&self) -> Result<bool, Error> {
        match kill(Pid::from_raw(self.pid), Signal::SIGKILL) {
            Ok(()) => Ok(true),
            Err(nix::Error::ESRCH) => Ok(false),
            Err(source) => Err(Error::Kill {
                container: self.container.clone(),
                pid: self.pid,
                source,
            }),
        }
    }

    /// Containerd can't remove the task of a shim that has written nothing, and the next start would meet its folder.
    /// There is nothing else of it: neither a mount nor a process.
    fn remove_unbegun(&self) -> Result<(), Error> {
        let Some(task) = &self.task else {
            return Ok(());
        };
        let is_its_own = task
            .file_name()
            .is_some_and(|name| *name == *self.container);
        if !is_its_own || task.join(WRITTEN_FIRST).exists() {
            return Ok(());
        }
        remove(task)
    }
}

fn remove(task: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(task) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Remove {
            path: task.into(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Every engine's.
fn shims() -> Result<Vec<Shim>, Error> {
    let processes = Path::new("/proc");
    let failed = |source| Error::Io {
        path: processes.into(),
        source,
    };
    let mut shims = Vec::new();
    for entry in fs::read_dir(processes).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let process = processes.join(name);
        // Whoever has ended meanwhile is no shim any more.
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        shims.extend(container_of(&line).map(|container| Shim {
            pid,
            container,
            task: fs::read_link(process.join("cwd")).ok(),
        }));
    }
    Ok(shims)
}

/// The container that a process is the shim of, if it is one, by its arguments.
fn container_of(line: &[u8]) -> Option<String> {
    let mut arguments = line.split(|byte| *byte == 0);
    let program = Path::new(std::str::from_utf8(arguments.next()?).ok()?);
    if !program.file_name()?.to_str()?.starts_with(SHIM) {
        return None;
    }
    arguments.find(|argument| *argument == ID.as_bytes())?;
    let id = std::str::from_utf8(arguments.next()?).ok()?;
    // A part of a path.
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// As the engine writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    state: State,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
}

/// Whether the engine takes this container for running; none when it is not its own.
fn runs(data_root: &Path, container: &str) -> Result<Option<bool>, Error> {
    let path = data_root
        .join("containers")
        .join(container)
        .join("config.v2.json");
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { path, source }),
        Ok(text) => text,
    };
    let record: Record =
        serde_json::from_slice(&text).map_err(|source| Error::Record { path, source })?;
    Ok(Some(record.state.running))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        os::unix::process::{CommandExt as _, ExitStatusExt as _},
        process::{Child, Command, Stdio},
    };

    use domain::id::InstanceId;

    use super::*;

    /// Of a process that waits for a line.
    pub const WAITS: &str = "echo begun; read line";

    /// Such a process, once it has begun: the system shows the arguments of a program only a moment after `spawn` has
    /// answered, and when it says something they are there.
    pub fn begun(program: &mut Command) -> Child {
        let piped = program.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = piped.spawn().unwrap();
        let mut said = [0; 6];
        let stdout = process.stdout.as_mut().unwrap();
        stdout.read_exact(&mut said).unwrap();
        process
    }

    /// The end of its input ends it.
    pub fn end(process: &mut Child) {
        drop(process.stdin.take());
        process.wait().unwrap();
    }

    /// A process under a shim's name and with its arguments, in the folder of its task.
    pub fn shim(container: &str, task: &Path) -> Child {
        begun(
            Command::new("sh")
                .arg0("/usr/bin/containerd-shim-runc-v2")
                .args(["-c", WAITS, "-namespace", "x", "-id", container])
                .current_dir(task),
        )
    }

    pub fn record(data_root: &Path, container: &str, running: bool) {
        let folder = data_root.join("containers").join(container);
        fs::create_dir_all(&folder).unwrap();
        let record =
            serde_json::json!({ "ID": container, "State": { "Running": running, "Pid": 0 } });
        fs::write(folder.join("config.v2.json"), record.to_string()).unwrap();
    }

    pub fn id() -> String {
        InstanceId::new().uuid().simple().to_string()
    }

    #[test]
    fn only_shims_of_this_engine_s_containers_that_do_not_run_are_ended() {
        let engine = tempfile::tempdir().unwrap();
        let [cut_off, running, another_engine_s] = [(); 3].map(|()| id());
        record(engine.path(), &cut_off, false);
        record(engine.path(), &running, true);
        let mut shims = [&cut_off, &running, &another_engine_s].map(|id| shim(id, engine.path()));

        assert_eq!(end_cut_off_starts(engine.path()).unwrap(), [cut_off]);

        let ended = shims[0].wait().unwrap();
        assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32));
        for goes_on in &mut shims[1..] {
            assert!(goes_on.try_wait().unwrap().is_none());
            end(goes_on);
        }
    }

    #[test]
    fn a_task_that_its_shim_has_not_begun_is_removed_and_one_that_it_has_is_left_to_containerd() {
        let engine = tempfile::tempdir().unwrap();
        let [unbegun, begun] = [(); 2].map(|()| id());
        for container in [&unbegun, &begun] {
            record(engine.path(), container, false);
            fs::create_dir(engine.path().join(container)).unwrap();
            fs::write(engine.path().join(container).join("config.json"), "{}").unwrap();
        }
        fs::write(engine.path().join(&begun).join(WRITTEN_FIRST), "").unwrap();
        let shims = [&unbegun, &begun].map(|id| shim(id, &engine.path().join(id)));

        assert_eq!(end_cut_off_starts(engine.path()).unwrap().len(), 2);

        assert!(!engine.path().join(unbegun).exists());
        assert!(engine.path().join(begun).join("config.json").exists());
        for mut shim in shims {
            shim.wait().unwrap();
        }
    }

    #[test]
    fn a_shim_is_known_by_its_program_and_an_id_that_is_one() {
        let arguments = |all: &[&str]| container_of(all.join("\0").as_bytes());
        let shim = "/usr/bin/containerd-shim-runc-v2";
        assert_eq!(
            arguments(&[shim, "-id", "0a", "-address", "x"]),
            Some("0a".to_owned())
        );
        assert_eq!(arguments(&["/usr/bin/ctr", "-id", "0a"]), None);
        assert_eq!(arguments(&[shim, "-id", "../0a"]), None);
        assert_eq!(arguments(&[shim, "-id", ""]), None);
        assert_eq!(arguments(&[shim]), None);
        assert_eq!(arguments(&[]), None);
    }

    #[test]
    fn a_record_that_is_none_is_said_and_nothing_is_ended() {
        let engine = tempfile::tempdir().unwrap();
        let container = id();
        record(engine.path(), &container, false);
        let file = engine
            .path()
            .join("containers")
            .join(&container)
            .join("config.v2.json");
        fs::write(&file, "{").unwrap();
        let mut shim = shim(&container, engine.path());
        let error = end_cut_off_starts(engine.path()).unwrap_err();
        assert!(error.to_string().contains(&container), "{error}");
        assert!(shim.try_wait().unwrap().is_none());
        end(&mut shim);
    }
}
