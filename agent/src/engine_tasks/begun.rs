//! Programs that had begun when the engine was killed amid their start. It takes their container for one that never
//! ran, and would run it again, also what runs once. A file beside its record of the container tells the agent, and
//! goes with the container.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Error;

/// In the folder of a task: the number of its first process.
const FIRST_PROCESS: &str = "init.pid";
/// In the engine's folder of a container.
const MARK: &str = "railhead-begun";

/// Where it stands that a container's program has begun, if it has.
#[must_use]
pub fn mark(data_root: &Path, container: &str) -> PathBuf {
    data_root.join("containers").join(container).join(MARK)
}

/// Until then the first process is `runc init`, which waits. One that has ended has begun.
pub(super) fn has_begun(task: &Path) -> bool {
    let Ok(pid) = fs::read_to_string(task.join(FIRST_PROCESS)) else {
        return false;
    };
    let process = Path::new("/proc").join(pid.trim());
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    let mut arguments = line.split(|byte| *byte == 0);
    let is_runc = arguments.next().is_some_and(|it| it.ends_with(b"runc"));
    !(is_runc && arguments.next() == Some(b"init"))
}

pub(super) fn note(data_root: &Path, container: &str) -> Result<(), Error> {
    let path = mark(data_root, container);
    fs::write(&path, "").map_err(|source| Error::Note { path, source })
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _,
        process::{Child, Command},
    };

    use super::{
        super::tests::{WAITS, begun, end},
        *,
    };

    /// A first process of this name, with the argument `init`, once the system shows both.
    fn process(task: &Path, name: &str) -> Child {
        fs::write(task.join("init"), WAITS).unwrap();
        let process = begun(Command::new("sh").arg0(name).arg("init").current_dir(task));
        fs::write(task.join(FIRST_PROCESS), process.id().to_string()).unwrap();
        process
    }

    #[test]
    fn a_task_has_begun_once_its_first_process_is_no_longer_runc_s() {
        let task = tempfile::tempdir().unwrap();
        let task = task.path();
        assert!(!has_begun(task), "there is no process");
        let mut waiting = process(task, "runc");
        assert!(!has_begun(task));
        end(&mut waiting);
        let mut program = process(task, "/sbin/docker-init");
        assert!(has_begun(task));
        end(&mut program);
        assert!(has_begun(task), "it has ended");
    }

    #[test]
    fn what_is_noted_lies_with_the_record_of_the_container() {
        let engine = tempfile::tempdir().unwrap();
        let folder = engine.path().join("containers/0a");
        fs::create_dir_all(&folder).unwrap();
        assert!(!mark(engine.path(), "0a").exists());
        note(engine.path(), "0a").unwrap();
        assert!(mark(engine.path(), "0a").starts_with(folder));
        assert!(mark(engine.path(), "0a").exists());
        assert!(
            note(engine.path(), "0b").is_err(),
            "there is no such container"
        );
    }
}
