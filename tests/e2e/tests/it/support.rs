//! What several tests ask of the example applications.

use std::{
    os::unix::fs::lchown,
    path::{Path, PathBuf},
};

use anyhow::Result;
use e2e::platform::Platform;
use testkit::{git::Repository, git_server::GitServer};

pub use e2e::example::{about, answers_from, hello, hello_under_load};

/// The folder of an example.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name)
}

/// A copy of an example's files that a test may change.
pub fn copy_example(name: &str) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for entry in std::fs::read_dir(example(name))? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
    }
    Ok(folder)
}

/// `xtask` lets builds of test platforms out to this port.
const GIT_PORT: u16 = 2222;
/// Builds fetch as `nobody`; git reads only repositories of its own user.
const NOBODY: u32 = 65_534;

/// A repository where the platform allows `file://`, with these files, if it has any commit.
pub fn repository(
    platform: &Platform,
    name: &str,
    files: Option<&[(&str, &str)]>,
) -> Result<Repository> {
    let path = platform.data()?.join("git").join(format!("{name}.e2e"));
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    let repository = Repository::create(&path);
    for (name, text) in files.into_iter().flatten() {
        repository.write(name, text);
    }
    if files.is_some() {
        repository.commit("First version");
    }
    give_to(NOBODY, &path)?;
    Ok(repository)
}

/// One more commit of a [`repository`]; its id.
pub fn commit(repository: &Repository, message: &str) -> Result<String> {
    give_to(0, repository.path())?;
    let commit = repository.commit(message);
    give_to(NOBODY, repository.path())?;
    Ok(commit)
}

fn give_to(user: u32, path: &Path) -> Result<()> {
    lchown(path, Some(user), Some(user))?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give_to(user, &entry?.path())?;
        }
    }
    Ok(())
}

/// A git server over ssh that lets the holder of `public_key` in, always with the same host key: builds
/// remember it.
pub async fn git_server(platform: &Platform, public_key: &str) -> Result<GitServer> {
    let host_key = platform.data()?.join("git-server.key");
    GitServer::listen(&platform.host_address(), GIT_PORT, &host_key, public_key).await
}
