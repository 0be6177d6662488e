//! Named points at which a test ends this process, to see what others find: between a commit and its answer,
//! between making a thing and telling of it. Builds without debug assertions have none; other builds look only
//! where `RAILHEAD_FAILPOINTS` names a folder. A point is armed by a file of its name in that folder, which is
//! taken away before it strikes: it strikes once, also when the process is started again.

/// The folder in which points are armed.
pub const VARIABLE: &str = "RAILHEAD_FAILPOINTS";

/// Ends this process as `kill -9` would, if the point is armed.
#[inline]
pub fn reach(point: &str) {
    if is_struck(point) {
        armed::end();
    }
}

/// Whether the point was armed; it no longer is.
#[inline]
#[must_use]
pub fn is_struck(point: &str) -> bool {
    armed::disarm(point)
}

#[cfg(debug_assertions)]
mod armed {
    use std::{
        env, fs,
        path::{Path, PathBuf},
        sync::OnceLock,
    };

    use nix::sys::signal::{Signal, raise};

    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();

    pub fn disarm(point: &str) -> bool {
        let folder = FOLDER.get_or_init(|| env::var_os(super::VARIABLE).map(PathBuf::from));
        folder
            .as_deref()
            .is_some_and(|folder| disarm_in(folder, point))
    }

    /// Of several that ask at once, one is told so.
    pub fn disarm_in(folder: &Path, point: &str) -> bool {
        fs::remove_file(folder.join(point)).is_ok()
    }

    /// A signal to this thread ends the whole process before the call is back.
    pub fn end() {
        let _ = raise(Signal::SIGKILL);
    }
}

#[cfg(not(debug_assertions))]
mod armed {
    pub const fn disarm(_: &str) -> bool {
        false
    }

    pub const fn end() {}
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::{fs, os::unix::process::ExitStatusExt as _, process::Command};

    use super::*;

    const CHILD: &str = "RAILHEAD_FAILPOINT_CHILD";

    #[test]
    fn an_armed_point_strikes_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!armed::disarm_in(folder.path(), "here"));
        fs::write(folder.path().join("here"), "").unwrap();
        assert!(!armed::disarm_in(folder.path(), "there"));
        assert!(armed::disarm_in(folder.path(), "here"));
        assert!(!armed::disarm_in(folder.path(), "here"));
    }

    /// Runs again as a child of itself, which must not survive its first armed point.
    #[test]
    fn a_process_ends_at_its_armed_point_as_if_killed() {
        if std::env::var_os(CHILD).is_some() {
            reach("not-armed");
            reach("armed");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let run = || {
            Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "tests::a_process_ends_at_its_armed_point_as_if_killed",
                ])
                .env(CHILD, "1")
                .env(VARIABLE, folder.path())
                .output()
                .unwrap()
                .status
        };
        assert!(run().success());
        fs::write(folder.path().join("armed"), "").unwrap();
        assert_eq!(run().signal(), Some(9));
        assert!(run().success(), "it is no longer armed");
    }
}
