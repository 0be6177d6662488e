//! One address for all replicas of the control plane: HAProxy, which passes TLS through and says by the
//! PROXY protocol who the client is. An installation puts its own load balancer here.

use std::fmt::Write as _;

use anyhow::Result;

use super::{
    control_plane::fingerprint,
    plan::{Plan, Replica, port},
    process::{Process, write_whole},
};

/// The system's user that the package brings.
const USER: &str = "haproxy";

/// The balancer, with its configuration written.
pub fn process(plan: &Plan) -> Result<Process> {
    let file = plan.config("haproxy.cfg");
    write_whole(&file, &configuration(plan))?;
    let config = file.display().to_string();
    let mut process = Process::new("balancer", 45, ["haproxy", "-Ws", "-f", &config]);
    process.fingerprint = fingerprint(&file)?;
    Ok(process)
}

/// Its whole configuration.
fn configuration(plan: &Plan) -> String {
    let mut text = format!(
        "global\n\
         \x20   log stderr format raw daemon notice\n\
         \x20   user {USER}\n\
         \x20   group {USER}\n\
         \x20   maxconn 8192\n\
         \n\
         defaults\n\
         \x20   mode tcp\n\
         \x20   log global\n\
         \x20   option dontlognull\n\
         \x20   option log-health-checks\n\
         # A replica that refuses a connection is left at once for the other.\n\
         \x20   balance roundrobin\n\
         \x20   retries 3\n\
         \x20   option redispatch 1\n\
         \x20   timeout connect 1s\n\
         # The control plane ends what is idle or dead; streams live on.\n\
         \x20   timeout client 15m\n\
         \x20   timeout server 15m\n\
         \x20   timeout client-fin 10s\n\
         \x20   timeout server-fin 10s\n\
         # While no replica is ready (PostgreSQL is away), all are asked all the same: they say why not.\n\
         \x20   option allbackups\n\
         # A replica that hangs is out after two unanswered checks.\n\
         \x20   option httpchk GET /readyz\n\
         \x20   timeout check 1s\n\
         \x20   default-server inter 500ms fastinter 200ms fall 2 rise 1 observe layer4 error-limit 1 \
         on-error fastinter\n"
    );
    for (name, number, cut) in [("api", port::API, ""), ("node-api", port::NODE, CUT)] {
        let _ = write!(
            text,
            "\nlisten {name}\n    bind {}:{number}\n{cut}",
            plan.host()
        );
        for replica in plan.replicas() {
            text.push_str(&server(&replica, number));
        }
    }
    text
}

/// Nodes' streams never end by themselves: they are cut and made again at another replica. Requests of the
/// API are not: the cut would also hit those that are on their way from the lost replica to the other.
const CUT: &str =
    "    default-server on-marked-down shutdown-sessions on-marked-up shutdown-backup-sessions\n";

fn server(replica: &Replica, number: u16) -> String {
    let (name, address, checked) = (replica.name(), replica.address(), port::METRICS);
    format!(
        "    server {name} {address}:{number} send-proxy-v2 check addr {address} port {checked}\n\
         \x20   server {name}-unready {address}:{number} send-proxy-v2 backup\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::slot::Slot;

    #[test]
    fn both_ports_lead_to_both_replicas_which_are_told_the_client() {
        let plan = Plan::new("/p".into(), Slot::new(3).unwrap());
        let text = configuration(&plan);
        for number in [8443, 8444] {
            assert!(
                text.contains(&format!("bind 10.99.0.1:{number}\n")),
                "{text}"
            );
            for replica in [1, 2] {
                let server = format!(
                    "server control-plane-{replica} 127.99.0.{replica}:{number} send-proxy-v2 check"
                );
                assert!(text.contains(&server), "{text}");
            }
        }
    }
}
