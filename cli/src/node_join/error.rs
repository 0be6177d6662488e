//! Why a machine can't become a node, each with what to do about it.

use std::path::PathBuf;

use domain::id::NodeId;
use protocol::join_token::InvalidMachineToken;

/// Why a machine can't become a node. Nothing was changed unless the message says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error("setting up a node needs root: it writes units, users and firewall rules")]
    NotRoot,
    /// No systemd.
    #[error("this machine was not started by systemd, which keeps a node's parts running")]
    NoSystemd,
    /// Programs that are not there.
    #[error("this machine lacks {}", programs.join(", "))]
    Missing {
        /// Which programs.
        programs: Vec<&'static str>,
        /// Debian's and Ubuntu's packages of them.
        packages: Vec<&'static str>,
    },
    /// Our own binaries are not where they should be.
    #[error("there is no {}", .0.display())]
    NoBinary(PathBuf),
    /// The text is no machine token.
    #[error(transparent)]
    Token(#[from] InvalidMachineToken),
    /// The token's address of the control plane is none.
    #[error("the token names {0} as the control plane, which is no https address")]
    Address(String),
    /// The token has none of the wanted roles.
    #[error("the token is good for no role that is wanted here")]
    NoRole,
    /// Somebody else, or the clock.
    #[error("the control plane can't be asked about the token: {0}")]
    ControlPlane(#[source] link::client::Error),
    /// Another machine was faster.
    #[error("the token's {role} part was used already, for node {node}, which is not this machine")]
    Used {
        /// Of the part.
        role: &'static str,
        /// Who has it.
        node: NodeId,
    },
    /// A node of somewhere else.
    #[error("this machine is {what} already")]
    Elsewhere {
        /// Such as "a node of region eu-west".
        what: String,
    },
    /// Certificates and leases need the time.
    #[error("this machine's clock is {seconds} s away from the control plane's")]
    Clock {
        /// How far, either way.
        seconds: i64,
    },
    /// Too little of something.
    #[error("this machine is too small for a node: {0}")]
    TooSmall(String),
    /// Something of the operator's own runs in Docker.
    #[error("docker.service runs {containers} containers that are not Railhead's")]
    DockerInUse {
        /// How many.
        containers: usize,
    },
    /// No name, address or network can be found.
    #[error("{what}")]
    Undecided {
        /// What can't be decided, and why.
        what: String,
        /// The option that decides it.
        option: &'static str,
    },
    /// A program failed.
    #[error("{command} failed: {reason}")]
    Command {
        /// With arguments.
        command: String,
        /// Its words.
        reason: String,
    },
    /// A unit does not start.
    #[error("{unit} does not start: {last_words}")]
    Unit {
        /// Which.
        unit: &'static str,
        /// What its journal ends with.
        last_words: String,
    },
    /// A unit goes on with what it had.
    #[error("{unit} did not hand over to its new program and goes on with the old one: {status}")]
    NotHandedOver {
        /// Which.
        unit: &'static str,
        /// What it says of it.
        status: String,
    },
    /// A file can't be used.
    #[error("could not {action} {}: {source}", path.display())]
    File {
        /// Such as "write".
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Everything was started, and the control plane does not show it as ready.
    #[error("all is set up and started, but the control plane does not show {missing} as ready")]
    NotReady {
        /// Which roles.
        missing: String,
    },
    /// Nothing to take away.
    #[error("this machine is no node: there is no {}", .0.display())]
    NoNode(PathBuf),
}

/// What this module gives.
pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    /// A failed file operation.
    pub fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Stable, for scripts; every code has a row in `docs/guide/errors.md`.
    pub fn code(&self) -> &str {
        match self {
            Self::NotRoot => "not_root",
            Self::NoSystemd => "systemd_missing",
            Self::Missing { .. } => "program_missing",
            Self::NoBinary(_) => "binary_missing",
            Self::Token(_) | Self::Address(_) | Self::NoRole => "join_token_invalid",
            Self::ControlPlane(error) => error.code(),
            Self::Used { .. } => "join_token_used",
            Self::Elsewhere { .. } => "node_elsewhere",
            Self::Clock { .. } => "clock_off",
            Self::TooSmall(_) => "machine_too_small",
            Self::DockerInUse { .. } => "docker_in_use",
            Self::Undecided { .. } => "undecided",
            Self::Command { .. } | Self::File { .. } => "machine_refused",
            Self::Unit { .. } | Self::NotHandedOver { .. } => "unit_failed",
            Self::NotReady { .. } => "node_not_ready",
            Self::NoNode(_) => "not_found",
        }
    }

    /// What to do next.
    pub fn advice(&self) -> String {
        match self {
            Self::NotRoot => "repeat it with sudo; --dry-run shows without root what it would do".into(),
            Self::NoSystemd => "use a machine (or virtual machine) with Debian or Ubuntu; a container without systemd can't be a node".into(),
            Self::Missing { packages, .. } => format!(
                "apt-get install --no-install-recommends {}   (or repeat it with --install-packages)",
                packages.join(" ")
            ),
            Self::NoBinary(_) => "put agent and edge-proxy of this release beside railhead, or name their folder: --binaries DIR".into(),
            Self::Token(_) | Self::Address(_) | Self::NoRole | Self::Used { .. } => "make a new one where you are signed in: railhead node token --region REGION".into(),
            Self::ControlPlane(error) => of_control_plane(error),
            Self::Elsewhere { .. } => "take that away first: railhead node leave".into(),
            Self::Clock { .. } => "set it and keep it set: timedatectl set-ntp true (package systemd-timesyncd or chrony)".into(),
            Self::TooSmall(_) => "use a larger machine, or leave parts out: --no-build, --build-disk".into(),
            Self::DockerInUse { .. } => "move them to another machine or remove them: two engines in one network overwrite each other's firewall rules".into(),
            Self::Undecided { option, .. } => format!("say it: {option}"),
            Self::Command { .. } | Self::File { .. } => "mend what it says and repeat the command: what is done already stays".into(),
            Self::Unit { unit, .. } => format!("journalctl -u {unit} -n 50 says more; then repeat the command"),
            Self::NotHandedOver { unit, .. } => format!("what was there is put back, and users are served; journalctl -u {unit} -n 50 says why; then repeat the command"),
            Self::NotReady { .. } => "journalctl -u railhead-agent -u railhead-edge -n 50 says why; ports to open: docs/guide/adding-a-machine.md".into(),
            Self::NoNode(_) => "nothing is to be done".into(),
        }
    }
}

fn of_control_plane(error: &link::client::Error) -> String {
    use link::client::Error as Link;
    match error {
        Link::Unreachable { .. } => "open the way from here to that address and port (TCP, outgoing), and check its name in DNS".into(),
        Link::ForeignCertificate { .. } => "who answers there is not the platform of the token: an old token, a proxy that opens TLS on the way, or an attack".into(),
        _ => "make a new token where you are signed in: railhead node token --region REGION".into(),
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Failed {
            message: error.to_string(),
            code: Some(error.code().to_owned()),
            advice: error.advice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_code_and_says_what_to_do() {
        let errors = [
            Error::NotRoot,
            Error::NoSystemd,
            Error::Missing {
                programs: vec!["dockerd", "iptables"],
                packages: vec!["docker.io", "iptables"],
            },
            Error::NoBinary("/srv/agent".into()),
            InvalidMachineToken.into(),
            Error::Used {
                role: "agent",
                node: "nod_0192f3c8000070008000a1b2c3d4e5f6".parse().unwrap(),
            },
            Error::Elsewhere {
                what: "a node of region eu-west".into(),
            },
            Error::Clock { seconds: 600 },
            Error::TooSmall("1 CPU core, at least 2 are needed".into()),
            Error::DockerInUse { containers: 3 },
            Error::Undecided {
                what: "the host name \"_\" is no name of a node".into(),
                option: "--name NAME",
            },
            Error::Unit {
                unit: "railhead-agent.service",
                last_words: "joining failed".into(),
            },
            Error::NotHandedOver {
                unit: "railhead-edge.service",
                status: "nothing was handed over: the new process does not serve within 60 s"
                    .into(),
            },
            Error::NotReady {
                missing: "edge".into(),
            },
        ];
        let texts = errors.map(|error| crate::error::Error::from(error).text(false));
        insta::assert_snapshot!(texts.join("\n"));
    }
}
