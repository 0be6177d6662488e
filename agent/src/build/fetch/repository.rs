//! One repository of a source, the top or a submodule: its git folder lies beside the source, so that
//! nothing of it gets into the build, and no name that a repository chooses becomes a path.

use std::{path::PathBuf, process::Output};

use tokio::process::Command;

use protocol::report::CommitInfo;

use super::{
    Fetch,
    address::Address,
    known_hosts,
    refs::{self, Target, Unresolved},
    said,
};
use crate::build::{error::Error, sandbox};

/// Relative to the source folder, where git and so ssh run.
const SSH_WITH_KEY: &str = "ssh -F ../config/ssh_config";
const SSH_WITHOUT_KEY: &str = "ssh -F ../config/ssh_config -o PubkeyAuthentication=no";

const TITLE_MAX: usize = 200;

/// A repository and where it is checked out.
pub struct Repository<'a> {
    pub fetch: &'a Fetch<'a>,
    pub address: Address,
    /// From the source's top; empty for the top itself.
    pub path: PathBuf,
    git_folder: PathBuf,
    /// What `GIT_SSH_COMMAND` is.
    ssh: &'static str,
}

impl<'a> Repository<'a> {
    /// The repository that was asked for, with nothing fetched yet.
    pub async fn top(fetch: &'a Fetch<'a>, address: Address) -> Result<Self, Error> {
        let repository = Self {
            fetch,
            address,
            path: PathBuf::new(),
            git_folder: fetch.workspace.home().join("git"),
            ssh: SSH_WITH_KEY,
        };
        repository.init().await
    }

    /// The `number`th submodule, checked out at `path`. The deploy key is offered to its own host only.
    pub async fn submodule(
        top: &Self,
        address: Address,
        path: PathBuf,
        number: usize,
    ) -> Result<Self, Error> {
        let own_host = address.host.is_some() && address.host == top.address.host;
        let repository = Self {
            fetch: top.fetch,
            address,
            path,
            git_folder: top.fetch.workspace.home().join(format!("git-{number}")),
            ssh: if own_host {
                SSH_WITH_KEY
            } else {
                SSH_WITHOUT_KEY
            },
        };
        repository.init().await
    }

    async fn init(self) -> Result<Self, Error> {
        known_hosts::ensure(self.fetch, &self.address).await?;
        self.checked(&["init", "--quiet"]).await?;
        Ok(self)
    }

    /// Where its files go.
    pub fn work_tree(&self) -> PathBuf {
        self.fetch.workspace.source().join(&self.path)
    }

    /// What a reference means there.
    pub async fn resolve(&self, reference: Option<&str>) -> Result<Target, Error> {
        let unknown = || Error::ReferenceNotFound {
            repo: self.address.shown.clone(),
            reference: reference.unwrap_or("the default branch").to_owned(),
        };
        if reference.is_some_and(|text| !domain::spec::is_git_ref(text)) {
            return Err(unknown());
        }
        let listing = self
            .checked(&["ls-remote", "--symref", "--", &self.address.url])
            .await?;
        refs::resolve(&String::from_utf8_lossy(&listing), reference).map_err(|why| match why {
            Unresolved::Empty => Error::RepositoryEmpty {
                repo: self.address.shown.clone(),
            },
            Unresolved::Unknown => unknown(),
        })
    }

    /// Fetches and checks out. A commit that is nobody's tip may need the whole history.
    pub async fn bring(&self, target: &Target, reference: Option<&str>) -> Result<(), Error> {
        let url = &self.address.url;
        let shallow = ["fetch", "--quiet", "--depth=1", "--no-tags", "--", url];
        match target {
            Target::Ref(name) => {
                self.checked(&[&shallow[..], &[name]].concat()).await?;
            }
            Target::Commit(sha) => {
                let alone = self.run(&[&shallow[..], &[sha]].concat()).await?;
                if !alone.status.success() {
                    self.checked(&["fetch", "--quiet", "--", url, "+refs/*:refs/fetched/*"])
                        .await?;
                }
            }
        }
        let at = match target {
            Target::Ref(_) => "FETCH_HEAD",
            Target::Commit(sha) => sha,
        };
        let out = self
            .run(&["checkout", "--quiet", "--force", "--detach", at, "--"])
            .await?;
        if out.status.success() {
            return Ok(());
        }
        match target {
            Target::Commit(sha) if !self.has(sha).await? => Err(Error::ReferenceNotFound {
                repo: self.address.shown.clone(),
                reference: reference.unwrap_or(sha).to_owned(),
            }),
            _ => Err(said::error(&self.address, &out.stderr)),
        }
    }

    async fn has(&self, object: &str) -> Result<bool, Error> {
        let looked = self.run(&["cat-file", "-e", object]).await?;
        Ok(looked.status.success())
    }

    /// What is checked out, which `target` led to.
    pub async fn commit(&self, target: &Target) -> Result<CommitInfo, Error> {
        let out = self
            .checked(&["log", "-1", "--format=%H%x00%s%x00%an", "HEAD"])
            .await?;
        let text = String::from_utf8_lossy(&out);
        let mut parts = text.trim_end().splitn(3, '\0');
        let mut next = || parts.next().unwrap_or_default();
        let (sha, title, author) = (next(), next(), next());
        Ok(CommitInfo {
            sha: sha.to_owned(),
            title: title.chars().take(TITLE_MAX).collect(),
            author: author.chars().take(TITLE_MAX).collect(),
            branch: target.branch().map(str::to_owned),
        })
    }

    /// Runs git to its end; a failure is one of our errors.
    pub async fn checked(&self, arguments: &[&str]) -> Result<Vec<u8>, Error> {
        let out = self.run(arguments).await?;
        if out.status.success() {
            Ok(out.stdout)
        } else {
            Err(said::error(&self.address, &out.stderr))
        }
    }

    /// Runs git to its end.
    pub async fn run(&self, arguments: &[&str]) -> Result<Output, Error> {
        sandbox::output(self.command(arguments))
            .await
            .map_err(Error::io("run git in", self.work_tree()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let workspace = &self.fetch.workspace;
        let mut command = self.fetch.sandbox().command("git", &workspace.source());
        command
            .args(arguments)
            .env("HOME", workspace.home())
            .env("GIT_DIR", &self.git_folder)
            .env("GIT_WORK_TREE", self.work_tree())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", workspace.config().join("gitconfig"))
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", self.address.protocol)
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_SSH_COMMAND", self.ssh)
            .env("GIT_LFS_SKIP_SMUDGE", "1");
        command
    }
}
