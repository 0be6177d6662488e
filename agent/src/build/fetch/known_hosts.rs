//! The host keys of ssh servers: taken at first contact, and the same from then on, an organization's in one file. The
//! agent asks for them, keeps them, and shows them to ssh; what the unprivileged user writes is never trusted
//! (docs/adr/0058).

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Fetch, address::Address, said, ssh_host::SshHost};
use crate::{
    build::{blocking::blocking, error::Error, sandbox},
    disk,
};

const KEY_TYPES: &str = "ed25519,ecdsa,rsa";
/// Of a server that does not answer; seconds.
const PATIENCE: &str = "20";
/// Some thousand servers.
const KEPT_MAX: usize = 1 << 20;

/// Builds run side by side: of two that meet a server at once, the second one takes what the first has kept.
static KEEPING: Mutex<()> = Mutex::new(());

/// Shows ssh the organization's host keys, with those of this address's server among them.
pub async fn ensure(fetch: &Fetch<'_>, address: &Address) -> Result<(), Error> {
    let Some(host) = &address.host else {
        return Ok(());
    };
    let kept = fetch.known_hosts();
    let mut known = read(&kept).await?;
    if !has(&known, host) {
        check_room(&known, address)?;
        let keys = ask(fetch, address, host).await?;
        known = keep(&kept, host, keys).await?;
    }
    let workspace = Arc::clone(fetch.workspace);
    blocking(move || workspace.configure("known_hosts", known.as_bytes())).await
}

fn check_room(known: &str, address: &Address) -> Result<(), Error> {
    if known.len() < KEPT_MAX {
        return Ok(());
    }
    Err(Error::RepositoryRefused {
        repo: address.shown.clone(),
        reason: "your organization has met too many ssh servers; ask the operator to remove those that are gone \
                 from its file in known_hosts in the build nodes' data_dir"
            .to_owned(),
    })
}

/// From the server itself, over the build network. Nothing of the repository has been read by then.
async fn ask(fetch: &Fetch<'_>, address: &Address, host: &SshHost) -> Result<String, Error> {
    let source = fetch.workspace.source();
    let mut command = fetch.sandbox().command("ssh-keyscan", &source);
    let port = host.port.to_string();
    command.args([
        "-T", PATIENCE, "-t", KEY_TYPES, "-p", &port, "--", &host.name,
    ]);
    let out = sandbox::output(command)
        .await
        .map_err(Error::io("run ssh-keyscan in", source))?;
    let keys = keys_of(host, &String::from_utf8_lossy(&out.stdout));
    if keys.is_empty() {
        return Err(said::without_host_key(address, &out.stderr));
    }
    Ok(keys)
}

/// The lines `HOST TYPE KEY` of what ssh-keyscan prints.
fn keys_of(host: &SshHost, printed: &str) -> String {
    let begin = format!("{host} ");
    printed
        .lines()
        .filter(|line| line.starts_with(&begin) && line.split(' ').count() == 3)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Whether there is a key of this host.
fn has(known: &str, host: &SshHost) -> bool {
    let host = host.to_string();
    known
        .lines()
        .filter_map(|line| line.split(' ').next())
        .any(|names| names.split(',').any(|name| name == host))
}

/// All that the organization knows then.
async fn keep(kept: &Path, host: &SshHost, keys: String) -> Result<String, Error> {
    let (kept, host) = (kept.to_owned(), host.clone());
    blocking(move || {
        let _turn = KEEPING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = read_file(&kept)?;
        if has(&known, &host) {
            return Ok(known);
        }
        if !known.is_empty() && !known.ends_with('\n') {
            known.push('\n');
        }
        known.push_str(&keys);
        disk::replace(&kept, known.as_bytes())
            .map_err(Error::io("keep the known hosts in", kept))?;
        Ok(known)
    })
    .await
}

async fn read(kept: &Path) -> Result<String, Error> {
    let kept = kept.to_owned();
    blocking(move || read_file(&kept)).await
}

/// Whoever can't read these would take any key for a new host's.
fn read_file(kept: &Path) -> Result<String, Error> {
    match fs::read_to_string(kept) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(Error::io("read the known hosts in", kept)),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;
    use testkit::hung_file::HungFile;

    use super::*;

    fn host(repo: &str) -> SshHost {
        SshHost::of(repo).unwrap()
    }

    #[tokio::test]
    async fn what_was_kept_first_stands() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("known_hosts");
        fs::write(&kept, "older ssh-rsa AA").unwrap();
        let new = host("ssh://git@new:2222/a");
        for (key, expected) in [("BB", "BB"), ("CC", "BB")] {
            let line = format!("[new]:2222 ssh-ed25519 {key}\n");
            let known = keep(&kept, &new, line).await.unwrap();
            let expected = format!("older ssh-rsa AA\n[new]:2222 ssh-ed25519 {expected}\n");
            assert_eq!(known, expected);
            assert_eq!(read(&kept).await.unwrap(), expected);
        }
    }

    #[test]
    fn a_host_is_known_by_its_name_and_port() {
        let known = "# a\nold,10.0.0.1 ssh-rsa AA\n[new]:2222 ssh-ed25519 BB\n";
        for repo in ["git@old:a", "git@10.0.0.1:a", "ssh://new:2222/a"] {
            assert!(has(known, &host(repo)), "{repo}");
        }
        for repo in ["git@new:a", "ssh://old:2222/a", "git@ol:a", "git@rsa:a"] {
            assert!(!has(known, &host(repo)), "{repo}");
        }
    }

    #[test]
    fn only_keys_of_the_host_that_was_asked_are_taken() {
        let printed = "# new:2222 SSH-2.0-x\n[new]:2222 ssh-ed25519 BB\nother ssh-rsa AA\n\
                       [new]:2222 more words than three\n[new]:22222 ssh-rsa CC\n";
        assert_eq!(
            keys_of(&host("ssh://new:2222/a"), printed),
            "[new]:2222 ssh-ed25519 BB\n"
        );
        assert_eq!(keys_of(&host("git@new:a"), printed), "");
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_no_thread_of_the_runtime_up() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("known_hosts");
        let hung = HungFile::holding(&kept, b"old ssh-rsa AA\n");
        let mut reading = pin!(read(&kept));
        assert!(reading.as_mut().now_or_never().is_none());
        assert_eq!(hung.heal(), b"old ssh-rsa AA\n");
        assert_eq!(reading.await.unwrap(), "old ssh-rsa AA\n");

        let hung = HungFile::holding(&kept, b"");
        let new = host("git@new:a");
        let mut keeping = pin!(keep(&kept, &new, "new ssh-rsa BB\n".to_owned()));
        assert!(keeping.as_mut().now_or_never().is_none());
        assert_eq!(hung.heal(), b"");
        keeping.await.unwrap();
    }

    #[tokio::test]
    async fn host_keys_that_cannot_be_read_are_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path()).await.unwrap_err();
        assert!(error.to_string().contains("known hosts"), "{error}");
    }
}
