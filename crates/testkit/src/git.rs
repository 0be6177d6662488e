//! Git repositories on disk, with whichever content a test wants: also what git itself would refuse to
//! make.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A repository with a working tree.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    submodules: Vec<(String, String)>,
}

impl Repository {
    /// An empty one, whose first branch is `main`.
    ///
    /// # Panics
    /// When git or the disk fails, as all of this type's methods.
    #[must_use]
    pub fn create(path: &Path) -> Self {
        std::fs::create_dir_all(path).expect("the folder can be made");
        let repository = Self {
            path: path.to_owned(),
            submodules: Vec::new(),
        };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its address for whoever may read this disk.
    #[must_use]
    pub fn file_url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) -> &Self {
        let file = self.path.join(name);
        let folder = file.parent().expect("a file is in a folder");
        std::fs::create_dir_all(folder).expect("the folder can be made");
        std::fs::write(&file, text).expect("the file can be written");
        self
    }

    /// Declares a submodule; the next commit has it.
    pub fn submodule(&mut self, path: &str, url: &str, commit: &str) -> &mut Self {
        let declared = format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n");
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path.join(".gitmodules"))
            .and_then(|mut file| file.write_all(declared.as_bytes()))
            .expect(".gitmodules can be written");
        self.submodules.push((path.to_owned(), commit.to_owned()));
        self
    }

    /// Commits everything, as "Ada"; the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        for (path, commit) in &self.submodules {
            let entry = format!("160000,{commit},{path}");
            self.git(&["update-index", "--add", "--cacheinfo", &entry]);
        }
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in it; what it said on standard output.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(&self.path)
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
            .args(arguments)
            .output()
            .expect("git is installed");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
