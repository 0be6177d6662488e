//! The server that an ssh address leads to, as ssh itself looks its key up.

use std::fmt;

const USUAL_PORT: u16 = 22;

/// A server's name or address, and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    /// Lower-case.
    pub name: String,
    pub port: u16,
}

impl SshHost {
    /// Of `ssh://[user@]host[:port]/path` or `user@host:path`; why there is none.
    pub fn of(repo: &str) -> Result<Self, &'static str> {
        let found = match repo.strip_prefix("ssh://") {
            Some(rest) => with_port(without_user(rest.split('/').next().unwrap_or_default())),
            None => Some((
                without_user(repo.split(':').next().unwrap_or_default()),
                USUAL_PORT,
            )),
        };
        match found {
            Some((name, port)) if is_plain(name) => Ok(Self {
                name: name.to_lowercase(),
                port,
            }),
            _ => Err("its host must be a plain name or address, as in ssh://git@host:22/path"),
        }
    }
}

impl fmt::Display for SshHost {
    /// As it stands in a file of known hosts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, port } = self;
        match *port {
            USUAL_PORT => f.write_str(name),
            port => write!(f, "[{name}]:{port}"),
        }
    }
}

fn without_user(authority: &str) -> &str {
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

/// `host`, `host:port`, `[address]` or `[address]:port`.
fn with_port(host: &str) -> Option<(&str, u16)> {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, rest)) => (address, Some(rest.strip_prefix(':')?)),
        None => host
            .split_once(':')
            .map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let port = port.map_or(Ok(USUAL_PORT), str::parse);
    Some((name, port.ok()?))
}

/// No option, no list, and nothing that git would read as another name than ssh-keyscan does.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_known_without_user_and_usual_port() {
        for (repo, known_as) in [
            ("git@Host:a.git", "host"),
            ("git@10.0.0.1:a/b", "10.0.0.1"),
            ("ssh://git@host/a", "host"),
            ("ssh://me@host:22/a", "host"),
            ("ssh://host:2222/a", "[host]:2222"),
            ("ssh://git@[FD00::1]/a", "fd00::1"),
            ("ssh://git@[fd00::1]:2222/a", "[fd00::1]:2222"),
        ] {
            assert_eq!(SshHost::of(repo).unwrap().to_string(), known_as, "{repo}");
        }
    }

    #[test]
    fn whatever_could_be_another_name_to_one_of_the_programs_is_none() {
        for repo in [
            "ssh://git@/a",
            "ssh://git@-oProxyCommand=id/a",
            "ssh://git@ho%73t/a",
            "ssh://git@host,other/a",
            "ssh://git@host:/a",
            "ssh://git@host:70000/a",
            "ssh://git@[fd00::1/a",
            "ssh://git@[fd00::1]x/a",
            "git@[host:2222]:a",
            "git@h*:a",
        ] {
            assert!(SshHost::of(repo).is_err(), "{repo}");
        }
    }
}
