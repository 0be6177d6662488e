//! The way out to the internet, for builds only: user-mode networking (slirp4netns) on the router's
//! namespace. It needs no rule, route or forwarding of the machine's own. Not with its `--enable-sandbox`,
//! whose detached root unmounts every `/run/netns` entry of the machine.

use super::{
    firewall::INTERNET,
    netns,
    plan::{Plan, netns_path},
    process::{Process, Ready},
};
use crate::command::CommandExt as _;

/// The forwarder. Its own loopback is closed to it; what builds may reach is the firewall's business.
pub fn process(plan: &Plan) -> Process {
    let mut process = Process::new(
        "internet",
        20,
        [
            "slirp4netns",
            "--configure",
            "--mtu=65520",
            "--disable-host-loopback",
            "--enable-seccomp",
            &format!("--cidr={}", plan.internet()),
            "--netns-type=path",
            &netns_path(&plan.router_netns()).display().to_string(),
            INTERNET,
        ],
    );
    process.ready = Ready::Started;
    process
}

/// Whether the way out is there.
pub fn is_open(plan: &Plan) -> bool {
    netns::inside(
        &plan.router_netns(),
        &["ip", "link", "show", INTERNET, "up"],
    )
    .read()
    .is_ok_and(|link| !link.trim().is_empty())
}
