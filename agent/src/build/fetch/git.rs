//! Sources from git repositories, by the `git` program in the build sandbox.

use std::process::Output;

use tokio::process::Command;

use protocol::log::Stream;
use protocol::report::CommitInfo;

use super::{
    Fetch,
    address::Address,
    refs::{self, Target, Unresolved},
    said,
};
use crate::build::{error::Error, sandbox};

/// Everything that git is told by configuration. The system's and the user's files are not read.
const GIT_CONFIG: &str = "\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\taskPass =
[init]
\tdefaultBranch = main
\ttemplateDir =
[credential]
\thelper =
[fetch]
\trecurseSubmodules = false
[submodule]
\trecurse = false
[protocol \"file\"]
\tallow = user
[http]
\tlowSpeedLimit = 1000
\tlowSpeedTime = 60
[gc]
\tauto = 0
[maintenance]
\tauto = false
[advice]
\tdetachedHead = false
[safe]
\tdirectory = *
";

/// Relative to the source folder, where git and so ssh run.
const SSH_COMMAND: &str = "ssh -F ../home/ssh_config";
const SSH_CONFIG: &str = "\
Host *
    UserKnownHostsFile ../home/known_hosts
    StrictHostKeyChecking accept-new
    HashKnownHosts no
    BatchMode yes
    PreferredAuthentications publickey
    IdentitiesOnly yes
    IdentityAgent none
    IdentityFile ../home/deploy_key
    ConnectTimeout 20
    ServerAliveInterval 15
    ClearAllForwardings yes
    PermitLocalCommand no
";

/// Where the system's CA bundle is, on Debian and on Red Hat.
const CA_BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

const TITLE_MAX: usize = 200;

/// Brings `reference` of `repo` into the source folder, without its history.
pub async fn fetch(
    fetch: &Fetch<'_>,
    repo: &str,
    reference: Option<&str>,
) -> Result<CommitInfo, Error> {
    let address = Address::check(repo, &fetch.config.file_roots)?;
    let git = Git {
        fetch,
        address: &address,
    };
    git.configure()?;
    let target = git.resolve(reference).await?;
    fetch.log.line(
        Stream::Stdout,
        &format!("Fetching {} ({})", address.shown, shown(&target)),
    );
    git.checked(&["init", "--quiet", "."]).await?;
    git.bring(&target, reference).await?;
    git.keep_known_hosts()?;
    let commit = git.commit().await?;
    fetch.log.line(
        Stream::Stdout,
        &format!("Commit {} {}", commit.sha, commit.title),
    );
    if fetch.workspace.source().join(".gitmodules").exists() {
        fetch.log.line(
            Stream::Stderr,
            "The repository has submodules; they are not fetched",
        );
    }
    Ok(commit)
}

fn shown(target: &Target) -> &str {
    match target {
        Target::Ref(name) => name,
        Target::Commit(sha) => sha,
    }
}

struct Git<'a> {
    fetch: &'a Fetch<'a>,
    address: &'a Address,
}

impl Git<'_> {
    fn configure(&self) -> Result<(), Error> {
        let workspace = self.fetch.workspace;
        let mut config = GIT_CONFIG.to_owned();
        if let Some(extra) = &self.fetch.config.extra_ca_file {
            workspace.write_private("ca.pem", &ca_bundle(extra)?)?;
            config.push_str("[http]\n\tsslCAInfo = ../home/ca.pem\n");
        }
        workspace.write_private("gitconfig", config.as_bytes())?;
        workspace.write_private("ssh_config", SSH_CONFIG.as_bytes())?;
        let known_hosts = std::fs::read(self.fetch.known_hosts()).unwrap_or_default();
        workspace.write_private("known_hosts", &known_hosts)?;
        let key = self.fetch.deploy_key.as_ref();
        let key = key.map_or_else(String::new, |key| format!("{}\n", key.trim_end()));
        workspace.write_private("deploy_key", key.as_bytes())
    }

    fn keep_known_hosts(&self) -> Result<(), Error> {
        if self.address.protocol != "ssh" {
            return Ok(());
        }
        let kept = self.fetch.known_hosts();
        std::fs::copy(self.fetch.workspace.home().join("known_hosts"), &kept)
            .map(|_| ())
            .map_err(Error::io("keep the known hosts in", kept))
    }

    async fn resolve(&self, reference: Option<&str>) -> Result<Target, Error> {
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
    async fn bring(&self, target: &Target, reference: Option<&str>) -> Result<(), Error> {
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
            Target::Ref(_) => Err(said::error(self.address, &out.stderr)),
            Target::Commit(sha) => Err(Error::ReferenceNotFound {
                repo: self.address.shown.clone(),
                reference: reference.unwrap_or(sha).to_owned(),
            }),
        }
    }

    async fn commit(&self) -> Result<CommitInfo, Error> {
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
        })
    }

    async fn checked(&self, arguments: &[&str]) -> Result<Vec<u8>, Error> {
        let out = self.run(arguments).await?;
        if out.status.success() {
            Ok(out.stdout)
        } else {
            Err(said::error(self.address, &out.stderr))
        }
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output, Error> {
        sandbox::output(self.command(arguments))
            .await
            .map_err(Error::io("run git in", self.fetch.workspace.source()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let workspace = self.fetch.workspace;
        let mut command = self.fetch.sandbox().command("git", &workspace.source());
        command
            .args(arguments)
            .env("HOME", workspace.home())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", workspace.home().join("gitconfig"))
            .env("GIT_CEILING_DIRECTORIES", workspace.file(""))
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", self.address.protocol)
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_SSH_COMMAND", SSH_COMMAND)
            .env("GIT_LFS_SKIP_SMUDGE", "1");
        command
    }
}

/// The system's CA certificates and the operator's.
fn ca_bundle(extra: &std::path::Path) -> Result<Vec<u8>, Error> {
    let mut bundle = CA_BUNDLES
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .unwrap_or_default();
    bundle.push(b'\n');
    bundle.extend(std::fs::read(extra).map_err(Error::io("read the extra CA file", extra))?);
    Ok(bundle)
}
