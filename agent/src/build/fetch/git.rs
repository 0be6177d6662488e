//! Sources from git repositories, by the `git` program in the build sandbox.

use protocol::{log::Stream, report::CommitInfo};

use super::{
    Fetch, address::Address, refs::Target, repository::Repository, settings::Settings, submodules,
};
use crate::build::{blocking::blocking, error::Error};

/// Brings `reference` of `repo` into the source folder, without its history, and its submodules.
pub async fn fetch(
    fetch: &Fetch<'_>,
    repo: &str,
    reference: Option<&str>,
) -> Result<CommitInfo, Error> {
    let (repo, roots) = (repo.to_owned(), fetch.config.file_roots.clone());
    let address = blocking(move || Address::check(&repo, &roots)).await?;
    Settings::of(fetch).write().await?;
    let top = Repository::top(fetch, address).await?;
    let target = top.resolve(reference).await?;
    let at = format!("Fetching {} ({})", top.address.shown, shown(&target));
    fetch.log.line(Stream::Stdout, &at);
    top.bring(&target, reference).await?;
    let commit = top.commit(&target).await?;
    let at = format!("Commit {} {}", commit.sha, commit.title);
    fetch.log.line(Stream::Stdout, &at);
    submodules::fetch(top).await?;
    Ok(commit)
}

fn shown(target: &Target) -> &str {
    match target {
        Target::Ref(name) => name,
        Target::Commit(sha) => sha,
    }
}
