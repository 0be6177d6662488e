//! Folders of tasks that never had a shim: of a start that was cut off before it. Containerd can't remove them, and every
//! further start of the container would meet its folder (docs/adr/0047).

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Error, WRITTEN_FIRST, remove, runs, shims};

/// Below containerd's state folder: in it a folder for each namespace, and in that one for each task.
const TASKS: &str = "io.containerd.runtime.v2.task";

/// For the engine with this data folder, which must not run, and the state folder of its containerd: removes the folders
/// of its containers' tasks in which no shim has begun anything, and no shim is about to. The containers.
///
/// # Errors
/// When a folder, a record or a process can't be read, or a folder can't be removed.
pub fn remove_unbegun(data_root: &Path, containerd_state: &Path) -> Result<Vec<String>, Error> {
    let shims = shims()?.into_iter().map(|shim| shim.container);
    let looked_after: BTreeSet<String> = shims.collect();
    let mut removed = Vec::new();
    for namespace in children(&containerd_state.join(TASKS))? {
        for task in children(&namespace)? {
            let Some(container) = task.file_name().and_then(OsStr::to_str) else {
                continue;
            };
            let is_begun = looked_after.contains(container) || task.join(WRITTEN_FIRST).exists();
            if !is_begun && runs(data_root, container)? == Some(false) {
                remove(&task)?;
                removed.push(container.to_owned());
            }
        }
    }
    Ok(removed)
}

/// What lies in a folder; nothing where none is there yet.
fn children(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Io {
        path: folder.into(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    entries
        .map(|entry| Ok(entry.map_err(failed)?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine_tasks::tests::{end, id, record, shim};

    /// As containerd makes it before it starts a shim.
    fn task(state: &Path, container: &str) -> PathBuf {
        let task = state.join(TASKS).join("moby").join(container);
        fs::create_dir_all(task.join("rootfs")).unwrap();
        fs::write(task.join("config.json"), "{}").unwrap();
        task
    }

    #[test]
    fn only_folders_of_this_engine_s_containers_that_no_shim_has_begun_are_removed() {
        let (engine, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [cut_off, begun, starting, running, another_engine_s] = [(); 5].map(|()| id());
        for (container, runs) in [
            (&cut_off, false),
            (&begun, false),
            (&starting, false),
            (&running, true),
        ] {
            record(engine.path(), container, runs);
        }
        let others = [&begun, &starting, &running, &another_engine_s];
        let others = others.map(|container| task(state.path(), container));
        fs::write(others[0].join(WRITTEN_FIRST), "").unwrap();
        let mut shim = shim(&starting, &others[1]);
        let removed = task(state.path(), &cut_off);

        let containers = remove_unbegun(engine.path(), state.path()).unwrap();
        assert_eq!(containers, [cut_off]);

        assert!(!removed.exists());
        for other in others {
            assert!(other.join("config.json").exists(), "{}", other.display());
        }
        end(&mut shim);
    }

    #[test]
    fn a_containerd_that_has_begun_nothing_yet_has_nothing_to_remove() {
        let folder = tempfile::tempdir().unwrap();
        let removed = remove_unbegun(folder.path(), &folder.path().join("none")).unwrap();
        assert_eq!(removed, Vec::<String>::new());
    }
}
