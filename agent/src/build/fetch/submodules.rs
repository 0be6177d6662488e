//! The submodules of a checked-out repository, and theirs: each is fetched like a repository of its own,
//! by the same checks and in the same sandbox. `git submodule` and what it may be talked into is not used.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use protocol::log::Stream;

use super::{address::Address, refs::Target, repository::Repository};
use crate::build::{blocking::blocking, error::Error};

const DEPTH_MAX: usize = 8;
const COUNT_MAX: usize = 200;
/// The mode of a tree's entry that is a commit of another repository.
const GITLINK: &str = "160000 commit ";

/// A submodule as `.gitmodules` declares it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Declared {
    path: String,
    url: String,
    /// `update = none`: not wanted in a checkout.
    unwanted: bool,
}

/// Fetches them all.
pub async fn fetch(top: Repository<'_>) -> Result<(), Error> {
    let mut count = 0;
    let mut waiting = vec![(find(&top).await?, 1)];
    while let Some((found, depth)) = waiting.pop() {
        for module in found {
            count += 1;
            let path = module.path.display().to_string();
            let fetched = async {
                check_limits(&module.address, depth, count)?;
                let repository = module.fetch(&top, count).await?;
                find(&repository).await
            };
            let inner = fetched.await.map_err(|error| error.of_submodule(&path))?;
            waiting.push((inner, depth + 1));
        }
    }
    Ok(())
}

fn check_limits(address: &Address, depth: usize, count: usize) -> Result<(), Error> {
    let reason = if depth > DEPTH_MAX {
        format!("submodules lie more than {DEPTH_MAX} deep; one of them may contain itself")
    } else if count > COUNT_MAX {
        format!("there are more than {COUNT_MAX} submodules")
    } else {
        return Ok(());
    };
    Err(Error::RepositoryRefused {
        repo: address.shown.clone(),
        reason,
    })
}

/// A submodule that is to be fetched.
struct Module {
    address: Address,
    /// From the source's top.
    path: PathBuf,
    commit: String,
}

impl Module {
    async fn fetch<'a>(self, top: &Repository<'a>, number: usize) -> Result<Repository<'a>, Error> {
        let line = format!(
            "Fetching submodule {} from {} ({})",
            self.path.display(),
            self.address.shown,
            self.commit
        );
        top.fetch.log.line(Stream::Stdout, &line);
        let repository = Repository::submodule(top, self.address, self.path, number).await?;
        let target = Target::Commit(self.commit);
        repository.bring(&target, None).await?;
        Ok(repository)
    }
}

/// The submodules that `parent` declares and has.
async fn find(parent: &Repository<'_>) -> Result<Vec<Module>, Error> {
    let mut found = Vec::new();
    for declared in declared(parent).await? {
        if let Some(commit) = commit_at(parent, &declared).await? {
            let path = parent.path.join(&declared.path).display().to_string();
            let module = module(parent, declared, commit).await;
            found.push(module.map_err(|error| error.of_submodule(&path))?);
        }
    }
    Ok(found)
}

async fn module(
    parent: &Repository<'_>,
    declared: Declared,
    commit: String,
) -> Result<Module, Error> {
    let roots = parent.fetch.config.file_roots.clone();
    let (beside, work_tree) = (parent.address.clone(), parent.work_tree());
    let above = parent.path.clone();
    blocking(move || {
        Ok(Module {
            address: address(&beside, &declared.url, &roots)?,
            path: above.join(place(&beside, work_tree, &declared.path)?),
            commit,
        })
    })
    .await
}

async fn declared(parent: &Repository<'_>) -> Result<Vec<Declared>, Error> {
    const BLOB: &str = "HEAD:.gitmodules";
    let exists = parent.run(&["cat-file", "-e", BLOB]).await?;
    if !exists.status.success() {
        return Ok(Vec::new());
    }
    let listed = parent
        .run(&["config", "--blob", BLOB, "--null", "--list"])
        .await?;
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr);
        return Err(Error::RepositoryRefused {
            repo: parent.address.shown.clone(),
            reason: format!("its .gitmodules can't be read ({})", said.trim()),
        });
    }
    Ok(parse(&String::from_utf8_lossy(&listed.stdout)))
}

/// From `git config --null --list`: keys and values, a line feed between, each ended by NUL.
fn parse(listing: &str) -> Vec<Declared> {
    let mut all: BTreeMap<&str, Declared> = BTreeMap::new();
    for entry in listing.split_terminator('\0') {
        let (key, value) = entry.split_once('\n').unwrap_or((entry, ""));
        let name = key
            .strip_prefix("submodule.")
            .and_then(|rest| rest.rsplit_once('.'));
        let Some((name, variable)) = name else {
            continue;
        };
        let declared = all.entry(name).or_default();
        match variable {
            "path" => value.clone_into(&mut declared.path),
            "url" => value.clone_into(&mut declared.url),
            "update" => declared.unwanted = value == "none",
            _ => {}
        }
    }
    all.into_values()
        .filter(|declared| !declared.path.is_empty() && !declared.unwanted)
        .collect()
}

/// The commit that the tree has at the submodule's path, if it has one.
async fn commit_at(parent: &Repository<'_>, declared: &Declared) -> Result<Option<String>, Error> {
    let arguments = ["ls-tree", "-z", "--full-tree", "HEAD", "--", &declared.path];
    let listed = parent.checked(&arguments).await?;
    let listed = String::from_utf8_lossy(&listed);
    Ok(listed
        .split_terminator('\0')
        .filter_map(|entry| entry.split_once('\t'))
        .find(|(_, path)| *path == declared.path)
        .and_then(|(entry, _)| entry.strip_prefix(GITLINK))
        .map(str::to_owned))
}

/// A relative address is one beside the parent's. `file://` is for whoever sets the service's repository.
fn address(parent: &Address, url: &str, roots: &[PathBuf]) -> Result<Address, Error> {
    let refused = |reason: &str| Error::RepositoryRefused {
        repo: url.to_owned(),
        reason: reason.to_owned(),
    };
    if url.starts_with("./") || url.starts_with("../") {
        let beside = parent
            .beside(url)
            .ok_or_else(|| refused("it leads above its host"))?;
        return Address::check(&beside, roots);
    }
    if url.starts_with("file:") {
        return Err(refused(
            "file:// addresses are not allowed in .gitmodules; use an https, ssh or relative address",
        ));
    }
    Address::check(url, roots)
}

/// Where it is checked out, from the top of its parent's: the empty folder that git has made there.
fn place(parent: &Address, mut folder: PathBuf, path: &str) -> Result<PathBuf, Error> {
    let plain = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let real = plain
        && Path::new(path).components().all(|part| {
            folder.push(part);
            folder.symlink_metadata().is_ok_and(|found| found.is_dir())
        });
    real.then(|| path.into())
        .ok_or_else(|| Error::RepositoryRefused {
            repo: parent.shown.clone(),
            reason: format!("its submodule path \"{path}\" is no folder of its own"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_lists_of_gitmodules_is_read() {
        let listing = "submodule.lib.path\nlib\0submodule.lib.url\n../lib.git\0\
            submodule.a.b \"c.path\nvendor/x\0submodule.a.b \"c.url\nhttps://h/x.git\0\
            submodule.off.path\noff\0submodule.off.update\nnone\0submodule.off.url\nhttps://h/off\0\
            submodule.pathless.url\nhttps://h/y\0core.sshcommand\nid\0bare\0";
        let of = |path: &str, url: &str| Declared {
            path: path.into(),
            url: url.into(),
            unwanted: false,
        };
        assert_eq!(
            parse(listing),
            [of("vendor/x", "https://h/x.git"), of("lib", "../lib.git")]
        );
        assert_eq!(parse(""), []);
    }
}
