//! The working tree as a `.tar.gz`, as it is now, committed or not. What `.gitignore`,
//! `.railheadignore` or `.dockerignore` leave out is left out, `.git` always. Nothing outside the
//! folder gets in: symbolic links are kept as links, and only when they stay inside.

mod dockerignore;
mod pack;

use std::path::{Component, Path, PathBuf};

use ignore::WalkBuilder;

use self::dockerignore::DockerIgnore;
use crate::error::{Error, Result};

pub use self::pack::{Packed, pack};

/// What goes into the archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// From the folder, in order of their names.
    pub entries: Vec<PathBuf>,
    /// What could not be taken and why, for the user.
    pub left_out: Vec<String>,
}

/// Lists what goes into the archive of a folder. `dockerfile` is taken whatever is ignored.
pub fn list(folder: &Path, dockerfile: &str) -> Result<Contents> {
    let docker = DockerIgnore::of(folder)?;
    let mut contents = Contents::default();
    for entry in walk(folder) {
        let entry = entry.map_err(|error| Error::file("read", folder, &error))?;
        let Ok(path) = entry.path().strip_prefix(folder) else {
            continue;
        };
        let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
        let needed = path == Path::new(dockerfile) || path == Path::new(".dockerignore");
        if path.as_os_str().is_empty() || (!needed && docker.leaves_out(path, is_directory)) {
            continue;
        }
        match admit(folder, path, entry.file_type()) {
            Ok(()) => contents.entries.push(path.to_owned()),
            Err(reason) => contents
                .left_out
                .push(format!("{}: {reason}", path.display())),
        }
    }
    Ok(contents)
}

fn walk(folder: &Path) -> ignore::Walk {
    WalkBuilder::new(folder)
        .standard_filters(false)
        .parents(true)
        .git_ignore(true)
        .git_exclude(true)
        .git_global(true)
        .require_git(false)
        .add_custom_ignore_filename(".railheadignore")
        .follow_links(false)
        .sort_by_file_name(std::cmp::Ord::cmp)
        .filter_entry(|entry| !is_ours(entry.file_name().as_encoded_bytes()))
        .build()
}

/// git's history may hold secrets that were deleted; `.railhead` is personal.
fn is_ours(name: &[u8]) -> bool {
    matches!(name, b".git" | b".railhead")
}

fn admit(
    folder: &Path,
    path: &Path,
    kind: Option<std::fs::FileType>,
) -> std::result::Result<(), &'static str> {
    match kind {
        Some(kind) if kind.is_symlink() => {
            let target = std::fs::read_link(folder.join(path)).map_err(|_| "unreadable link")?;
            stays_inside(path, &target)
                .then_some(())
                .ok_or("a symbolic link to outside the folder")
        }
        Some(kind) if kind.is_file() || kind.is_dir() => Ok(()),
        _ => Err("neither file, folder nor link"),
    }
}

/// Whether a link at `path` to `target` leads to somewhere in the folder, judged by names alone.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let contents = list(folder.path(), "Dockerfile").unwrap();
        contents
            .entries
            .iter()
            .filter(|path| folder.path().join(path).is_file())
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn what_git_ignores_stays_here_also_without_git() {
        let folder = tree(&[
            (".gitignore", "*.log\n/target\n"),
            (".git/config", "secret"),
            ("sub/.gitignore", "local\n"),
            ("sub/local", ""),
            ("sub/kept", ""),
            ("target/x", ""),
            ("a.log", ""),
            (".env.example", ""),
            ("main.py", ""),
        ]);
        assert_eq!(
            names(&folder),
            [
                ".env.example",
                ".gitignore",
                "main.py",
                "sub/.gitignore",
                "sub/kept"
            ]
        );
    }

    #[test]
    fn railheadignore_has_the_last_word() {
        let folder = tree(&[
            (".gitignore", "dist\n"),
            (".railheadignore", "!dist\ntests\n"),
            ("dist/app.js", ""),
            ("tests/a", ""),
        ]);
        assert_eq!(
            names(&folder),
            [".gitignore", ".railheadignore", "dist/app.js"]
        );
    }

    #[test]
    fn dockerignore_means_what_it_means_to_docker() {
        let folder = tree(&[
            (".dockerignore", "*\n!src/main.rs\nDockerfile\n"),
            ("Dockerfile", ""),
            ("src/main.rs", ""),
            ("src/other.rs", ""),
            ("README.md", ""),
        ]);
        assert_eq!(
            names(&folder),
            [".dockerignore", "Dockerfile", "src/main.rs"]
        );
    }

    #[test]
    fn links_are_kept_only_when_they_stay_inside() {
        let folder = tree(&[("data/a", "")]);
        for (link, target) in [
            ("inside", "data/a"),
            ("data/up", "../data/a"),
            ("outside", "/etc/passwd"),
            ("data/out", "../../x"),
        ] {
            std::os::unix::fs::symlink(target, folder.path().join(link)).unwrap();
        }
        let contents = list(folder.path(), "Dockerfile").unwrap();
        let taken: Vec<_> = contents
            .entries
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(taken, ["data", "data/a", "data/up", "inside"]);
        assert_eq!(contents.left_out.len(), 2, "{:?}", contents.left_out);
    }
}
