//! What git and ssh say when they fail, as one of our errors.

use super::address::Address;
use crate::build::error::Error;

const SAID_MAX: usize = 400;

const NOT_FOUND: &[&str] = &[
    "repository not found",
    "does not appear to be a git repository",
    "does not exist",
    "' not found",
    "/ not found",
    "error: 404",
    "error: 410",
    "no such file or directory",
];
const PRIVATE: &[&str] = &[
    "could not read username",
    "could not read password",
    "terminal prompts disabled",
    "authentication failed",
    "permission denied (",
    "permission denied, please try again",
    "error: 401",
    "error: 403",
    "access denied",
];
const UNREACHABLE: &[&str] = &[
    "could not resolve host",
    "failed to connect",
    "couldn't connect",
    "connection refused",
    "connection timed out",
    "connection reset",
    "connection closed",
    "no route to host",
    "network is unreachable",
    "operation timed out",
    "ssl certificate problem",
    "server certificate verification failed",
    "ssl_error",
    "gnutls_handshake",
    "administratively prohibited",
];

/// The error for git's output on standard error.
pub fn error(address: &Address, stderr: &[u8]) -> Error {
    let said = summary(address, stderr);
    let text = said.to_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    let repo = address.shown.clone();
    if has(&[
        "host identification has changed",
        "host key verification failed",
    ]) {
        Error::HostKeyChanged { repo }
    } else if text.contains("' not allowed") {
        let reason = format!("it leads to a protocol that is not allowed ({said})");
        Error::RepositoryRefused { repo, reason }
    } else if text.contains("file size limit exceeded") || text.contains("file too large") {
        Error::FetchFailed { repo, said }
    } else if has(UNREACHABLE) {
        Error::RepositoryUnreachable { repo, said }
    } else if has(PRIVATE) {
        Error::RepositoryPrivate { repo, said }
    } else if has(NOT_FOUND) {
        Error::RepositoryNotFound { repo, said }
    } else {
        Error::FetchFailed { repo, said }
    }
}

/// The error for a server that has given no host key, with what ssh-keyscan says on standard error.
pub fn without_host_key(address: &Address, stderr: &[u8]) -> Error {
    let said = summary(address, stderr);
    Error::RepositoryUnreachable {
        repo: address.shown.clone(),
        said: if said.is_empty() {
            "no answer from its ssh server".to_owned()
        } else {
            said
        },
    }
}

/// What was said, on one line, without credentials and without chatter.
fn summary(address: &Address, stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr).replace(&address.url, &address.shown);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let mut said = lines.join("; ");
    said.truncate(said.floor_char_boundary(SAID_MAX));
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_gets_a_code() {
        let address = Address::check("https://me:token@git.example.com/a.git", &[]).unwrap();
        for (said, code) in [
            (
                "remote: Repository not found.\nfatal: repository 'https://git.example.com/a.git/' not found",
                "repository_not_found",
            ),
            (
                "fatal: could not read Username for 'https://git.example.com': terminal prompts disabled",
                "repository_private",
            ),
            (
                "git@host: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.",
                "repository_private",
            ),
            (
                "fatal: unable to access 'https://x/': Could not resolve host: x",
                "repository_unreachable",
            ),
            (
                "fatal: unable to access 'https://x/': The requested URL returned error: 403",
                "repository_private",
            ),
            (
                "fatal: '/srv/a.git' does not appear to be a git repository",
                "repository_not_found",
            ),
            ("fatal: transport 'ext' not allowed", "repository_refused"),
            (
                "@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@",
                "repository_host_key_changed",
            ),
            ("fatal: early EOF", "fetch_failed"),
        ] {
            assert_eq!(error(&address, said.as_bytes()).code(), code, "{said}");
        }
    }

    #[test]
    fn credentials_do_not_come_back() {
        let address = Address::check("https://me:token@git.example.com/a.git", &[]).unwrap();
        let said = b"fatal: unable to access 'https://me:token@git.example.com/a.git/': broke";
        assert!(!error(&address, said).to_string().contains("token"));
    }
}
