//! Named points at which a test ends this process, to see what others find: between a commit and its answer,
//! between making a thing and telling of it. Or it holds the process there, and ends another one at exactly that
//! moment. Builds without debug assertions have none; other builds look only where `RAILHEAD_FAILPOINTS` names a
//! folder. A point is armed by a file of its name in that folder, which is taken away before it strikes: it
//! strikes once, also when the process is started again.

/// The folder in which points are armed.
pub const VARIABLE: &str = "RAILHEAD_FAILPOINTS";

/// What the file of a point holds that does not end the process, but holds it there.
pub const HOLD: &str = "hold";

/// The file that is there while a process is held at a point; who removes it lets the process go on.
#[must_use]
pub fn held(point: &str) -> String {
    format!("{point}.held")
}

/// Ends this process as `kill -9` would, or holds who comes here, if the point is armed.
#[inline]
pub fn reach(point: &str) {
    armed::reach(point);
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
        thread,
        time::{Duration, Instant},
    };

    use nix::sys::signal::{Signal, raise};
    use tokio::{
        runtime::{Handle, RuntimeFlavor},
        task,
    };

    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();

    const LOOK_EVERY: Duration = Duration::from_millis(5);
    /// A test that has died holds nobody for longer.
    const HELD_MAX: Duration = Duration::from_secs(60);

    fn folder() -> Option<&'static Path> {
        let folder = FOLDER.get_or_init(|| env::var_os(super::VARIABLE).map(PathBuf::from));
        folder.as_deref()
    }

    pub fn disarm(point: &str) -> bool {
        folder().is_some_and(|folder| disarm_in(folder, point))
    }

    /// Of several that ask at once, one is told so.
    pub fn disarm_in(folder: &Path, point: &str) -> bool {
        fs::remove_file(folder.join(point)).is_ok()
    }

    pub fn reach(point: &str) {
        if let Some(folder) = folder() {
            reach_in(folder, point);
        }
    }

    /// Of several that reach it at once, one is struck.
    fn reach_in(folder: &Path, point: &str) {
        let held = folder.join(super::held(point));
        if fs::rename(folder.join(point), &held).is_err() {
            return;
        }
        if fs::read_to_string(&held).is_ok_and(|text| text == super::HOLD) {
            hold(&held, HELD_MAX);
        } else {
            let _ = fs::remove_file(&held);
            end();
        }
    }

    /// Only who came here stands still: a runtime's worker gives its other tasks away first.
    pub fn hold(held: &Path, longest: Duration) {
        let deadline = Instant::now() + longest;
        let wait = || {
            while held.exists() && Instant::now() < deadline {
                thread::sleep(LOOK_EVERY);
            }
        };
        let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
        match flavor {
            Ok(RuntimeFlavor::MultiThread) => task::block_in_place(wait),
            _ => wait(),
        }
        let _ = fs::remove_file(held);
    }

    /// A signal to this thread ends the whole process before the call is back.
    fn end() {
        let _ = raise(Signal::SIGKILL);
    }
}

#[cfg(not(debug_assertions))]
mod armed {
    pub const fn disarm(_: &str) -> bool {
        false
    }

    pub const fn reach(_: &str) {}
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::{
        fs,
        os::unix::process::ExitStatusExt as _,
        process::{Command, ExitStatus},
        thread,
        time::{Duration, Instant},
    };

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

    #[test]
    fn nobody_is_held_for_ever_by_a_test_that_has_died() {
        let folder = tempfile::tempdir().unwrap();
        let held = folder.path().join(held("here"));
        fs::write(&held, HOLD).unwrap();
        armed::hold(&held, Duration::from_millis(1));
        assert!(!held.exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_is_held_in_a_runtime_holds_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(held("here"));
        fs::write(&file, HOLD).unwrap();
        let lets_go = file.clone();
        let held = tokio::spawn(async move {
            // Woken last, it is next on this worker.
            tokio::spawn(async move { fs::remove_file(lets_go).unwrap() });
            let began = Instant::now();
            armed::hold(&file, Duration::from_secs(60));
            began.elapsed()
        });
        assert!(held.await.unwrap() < Duration::from_secs(60));
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
        let run = || in_child("a_process_ends_at_its_armed_point_as_if_killed", &folder);
        assert!(run().success());
        fs::write(folder.path().join("armed"), "").unwrap();
        assert_eq!(run().signal(), Some(9));
        assert!(run().success(), "it is no longer armed");
    }

    #[test]
    fn a_process_is_held_at_its_point_until_it_is_let_go() {
        if std::env::var_os(CHILD).is_some() {
            return reach("armed");
        }
        let folder = tempfile::tempdir().unwrap();
        let armed = folder.path().join("armed");
        fs::write(&armed, HOLD).unwrap();
        thread::scope(|scope| {
            let name = "a_process_is_held_at_its_point_until_it_is_let_go";
            let child = scope.spawn(|| in_child(name, &folder));
            let held = folder.path().join(held("armed"));
            while !held.exists() {
                assert!(!child.is_finished(), "it was not held");
                thread::yield_now();
            }
            assert!(!armed.exists(), "it strikes once");
            assert!(!child.is_finished());
            fs::remove_file(held).unwrap();
            assert!(child.join().unwrap().success());
        });
    }

    fn in_child(test: &str, folder: &tempfile::TempDir) -> ExitStatus {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("tests::{test}")])
            .env(CHILD, "1")
            .env(VARIABLE, folder.path())
            .output()
            .unwrap()
            .status
    }
}
