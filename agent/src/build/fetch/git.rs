//! Sources from git repositories, by the `git` program in the build sandbox.

use protocol::{log::Stream, report::CommitInfo};

use super::{Fetch, address::Address, refs::Target, repository::Repository, submodules};
use crate::build::error::Error;

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

/// Paths are relative to the source folder, where git and so ssh run.
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

/// Brings `reference` of `repo` into the source folder, without its history, and its submodules.
pub async fn fetch(
    fetch: &Fetch<'_>,
    repo: &str,
    reference: Option<&str>,
) -> Result<CommitInfo, Error> {
    let address = Address::check(repo, &fetch.config.file_roots)?;
    configure(fetch)?;
    let top = Repository::top(fetch, address).await?;
    let target = top.resolve(reference).await?;
    let at = format!("Fetching {} ({})", top.address.shown, shown(&target));
    fetch.log.line(Stream::Stdout, &at);
    top.bring(&target, reference).await?;
    let commit = top.commit(&target).await?;
    let at = format!("Commit {} {}", commit.sha, commit.title);
    fetch.log.line(Stream::Stdout, &at);
    let fetched = submodules::fetch(top).await;
    keep_known_hosts(fetch)?;
    fetched.map(|()| commit)
}

fn shown(target: &Target) -> &str {
    match target {
        Target::Ref(name) => name,
        Target::Commit(sha) => sha,
    }
}

fn configure(fetch: &Fetch<'_>) -> Result<(), Error> {
    let workspace = fetch.workspace;
    let mut config = GIT_CONFIG.to_owned();
    if let Some(extra) = &fetch.config.extra_ca_file {
        workspace.write_private("ca.pem", &ca_bundle(extra)?)?;
        config.push_str("[http]\n\tsslCAInfo = ../home/ca.pem\n");
    }
    workspace.write_private("gitconfig", config.as_bytes())?;
    workspace.write_private("ssh_config", SSH_CONFIG.as_bytes())?;
    let known_hosts = std::fs::read(fetch.known_hosts()).unwrap_or_default();
    workspace.write_private("known_hosts", &known_hosts)?;
    let key = fetch.deploy_key.as_ref();
    let key = key.map_or_else(String::new, |key| format!("{}\n", key.trim_end()));
    workspace.write_private("deploy_key", key.as_bytes())
}

/// Hosts that were met for the first time must show the same key from now on.
fn keep_known_hosts(fetch: &Fetch<'_>) -> Result<(), Error> {
    let met = fetch.workspace.home().join("known_hosts");
    let known = std::fs::read(&met).map_err(Error::io("read", &met))?;
    if known.is_empty() {
        return Ok(());
    }
    let kept = fetch.known_hosts();
    std::fs::write(&kept, known).map_err(Error::io("keep the known hosts in", kept))
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
