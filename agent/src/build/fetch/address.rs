//! What a repository's address allows: which protocol git may speak, and for `file://` whether
//! the operator allows that folder.

use std::path::{Component, Path, PathBuf};

use domain::spec::check_repo;

use super::ssh_host::SshHost;
use crate::build::error::Error;

/// An address that may be given to git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// For git.
    pub url: String,
    /// For people: without credentials.
    pub shown: String,
    /// The only protocol that git may speak (`GIT_ALLOW_PROTOCOL`).
    pub protocol: &'static str,
    /// Of an ssh address.
    pub host: Option<SshHost>,
}

impl Address {
    /// Checks what the user wrote. For `file://` it waits for the disk.
    pub fn check(repo: &str, file_roots: &[PathBuf]) -> Result<Self, Error> {
        let refused = |reason: &str| Error::RepositoryRefused {
            repo: shown(repo),
            reason: reason.to_owned(),
        };
        check_repo(repo).map_err(refused)?;
        if let Some(path) = repo.strip_prefix("file://") {
            return file(repo, Path::new(path), file_roots);
        }
        let protocol = if repo.starts_with("https://") {
            "https"
        } else {
            "ssh"
        };
        if protocol == "ssh" && host_is_an_option(repo) {
            return Err(refused("its host begins with a hyphen"));
        }
        let host = match protocol {
            "ssh" => Some(SshHost::of(repo).map_err(refused)?),
            _ => None,
        };
        Ok(Self {
            url: repo.to_owned(),
            shown: shown(repo),
            protocol,
            host,
        })
    }

    /// What a relative address (`./…`, `../…`) means beside this one, as for `git submodule`. `None` when
    /// it leads above the host.
    pub fn beside(&self, relative: &str) -> Option<String> {
        let is_url = self.url.contains("://");
        let mut base = self.url.trim_end_matches('/');
        let mut rest = relative;
        let mut joint = '/';
        loop {
            if let Some(below) = rest.strip_prefix("./") {
                rest = below;
            } else if let Some(above) = rest.strip_prefix("../") {
                rest = above;
                (base, joint) = match base.rsplit_once('/') {
                    Some((parent, _)) => (parent, '/'),
                    None => (base.split_once(':').filter(|_| !is_url)?.0, ':'),
                };
            } else {
                break;
            }
        }
        let within_host = match base.split_once("://") {
            Some((_, rest)) => self.protocol == "file" || !rest.is_empty(),
            None => !is_url,
        };
        within_host.then(|| format!("{base}{joint}{}", rest.trim_end_matches('/')))
    }
}

fn file(repo: &str, path: &Path, roots: &[PathBuf]) -> Result<Address, Error> {
    let refused = || Error::RepositoryRefused {
        repo: repo.to_owned(),
        reason: "file:// addresses are allowed below the operator's build.file_roots only"
            .to_owned(),
    };
    let plain = path.is_absolute()
        && !repo.contains('%')
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    // Judged by its text first, so that an answer never tells what exists outside the roots.
    if !plain || !roots.iter().any(|root| path.starts_with(root)) {
        return Err(refused());
    }
    let real = path
        .canonicalize()
        .map_err(|error| Error::RepositoryNotFound {
            repo: repo.to_owned(),
            said: error.to_string(),
        })?;
    let inside = roots
        .iter()
        .filter_map(|root| root.canonicalize().ok())
        .any(|root| real.starts_with(root));
    match real.to_str() {
        Some(real) if inside && !real.contains('%') => Ok(Address {
            url: format!("file://{real}"),
            shown: repo.to_owned(),
            protocol: "file",
            host: None,
        }),
        _ => Err(refused()),
    }
}

fn host_is_an_option(repo: &str) -> bool {
    let rest = repo.strip_prefix("ssh://").unwrap_or(repo);
    let authority = rest.split(['/', ':']).next().unwrap_or_default();
    authority
        .rsplit('@')
        .next()
        .is_none_or(|host| host.is_empty() || host.starts_with('-'))
        || authority.starts_with('-')
}

/// An address without user name and password.
fn shown(repo: &str) -> String {
    match repo.strip_prefix("https://") {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("https://{host}{path}")
        }
        None => repo.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(repo: &str, roots: &[PathBuf]) -> &'static str {
        match Address::check(repo, roots) {
            Ok(address) => address.protocol,
            Err(error) => error.code(),
        }
    }

    #[test]
    fn each_address_gets_one_protocol() {
        for (repo, want) in [
            ("https://git.example.com/a/b.git", "https"),
            ("ssh://git@host:2222/a.git", "ssh"),
            ("git@host:a/b.git", "ssh"),
            ("ext::sh -c id", "repository_refused"),
            ("--upload-pack=id", "repository_refused"),
            ("git@-oProxyCommand=id:x", "repository_refused"),
            ("ssh://git@-oProxyCommand=id/x", "repository_refused"),
            ("-oProxyCommand=id@host:x", "repository_refused"),
            ("ssh://git@host,other/x", "repository_refused"),
            ("http://host/a", "repository_refused"),
            ("/srv/a", "repository_refused"),
            ("file:///srv/a", "repository_refused"),
        ] {
            assert_eq!(code(repo, &[]), want, "{repo}");
        }
    }

    #[test]
    fn files_are_allowed_below_the_roots_only_and_links_do_not_lead_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("roots");
        std::fs::create_dir_all(root.join("app")).unwrap();
        std::fs::create_dir_all(folder.path().join("secret")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), root.join("link")).unwrap();
        let roots = [root.clone()];
        let url = |path: &str| format!("file://{}/{path}", root.display());
        assert_eq!(code(&url("app"), &roots), "file");
        assert_eq!(code(&url("gone"), &roots), "repository_not_found");
        assert_eq!(code(&url("link"), &roots), "repository_refused");
        assert_eq!(code(&url("../secret"), &roots), "repository_refused");
        assert_eq!(code(&url("%61pp"), &roots), "repository_refused");
        assert_eq!(code("file:///etc", &roots), "repository_refused");
        assert_eq!(code("file://localhost/etc", &roots), "repository_refused");
    }

    #[test]
    fn relative_addresses_stay_on_their_host() {
        let beside = |base: &str, relative: &str| {
            let address = Address::check(base, &[]).unwrap();
            address.beside(relative)
        };
        for (base, relative, want) in [
            (
                "https://h/a/app.git",
                "../lib.git",
                Some("https://h/a/lib.git"),
            ),
            (
                "https://h/a/app.git/",
                "../../b/lib/",
                Some("https://h/b/lib"),
            ),
            ("https://h/a", "./lib", Some("https://h/a/lib")),
            ("https://h/a", "../lib", Some("https://h/lib")),
            ("https://h/a", "../../evil.example.com/x", None),
            ("https://h/a", "../../../x", None),
            ("git@h:a/app.git", "../lib.git", Some("git@h:a/lib.git")),
            ("git@h:app.git", "../lib.git", Some("git@h:lib.git")),
            ("git@h:app.git", "../../x:lib.git", None),
            (
                "ssh://git@h:22/a/app",
                "../lib",
                Some("ssh://git@h:22/a/lib"),
            ),
            ("ssh://git@h/a", "../../other/x", None),
            (
                "https://me:token@h:8443/a",
                "../../x@evil.example.com/y",
                None,
            ),
        ] {
            assert_eq!(beside(base, relative).as_deref(), want, "{base} {relative}");
        }
    }

    #[test]
    fn only_ssh_addresses_have_a_host_whose_key_is_known() {
        let host = |repo| Address::check(repo, &[]).unwrap().host;
        let known_as = |repo| host(repo).map(|host| host.to_string());
        assert_eq!(known_as("git@Host:a.git").as_deref(), Some("host"));
        assert_eq!(known_as("https://host/a"), None);
    }

    #[test]
    fn credentials_are_not_shown() {
        let address = Address::check("https://me:token@host/a.git", &[]).unwrap();
        assert_eq!(address.shown, "https://host/a.git");
    }
}
