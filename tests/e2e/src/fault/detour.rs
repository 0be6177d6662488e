//! The way of a region's nodes to the control plane, led through a proxy that makes it slow or breaks it.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use testkit::chaos_proxy::ChaosProxy;

use super::rules::{Rule, Rules, inside};
use crate::{platform::Platform, wait};

const NODES_COME_WITHIN: Duration = Duration::from_secs(30);

/// A proxy between the nodes of one region and the control plane. When it is dropped, the nodes connect
/// directly again.
#[derive(Debug)]
pub struct Detour {
    // Removed before the proxy ends: nodes that reconnect must not come back to it.
    _rules: Rules,
    /// Does to the nodes' connections what it is told.
    pub proxy: ChaosProxy,
}

impl Detour {
    /// Leads the nodes of `region` through a proxy that does nothing yet, those connected already too:
    /// their connections are reset. Returns when all go through it.
    pub async fn open(platform: &Platform, region: &str) -> Result<Self> {
        let node_api = platform.node_api()?;
        let region = &platform.status.regions[region];
        let here = SocketAddr::new(node_api.ip(), 0);
        let proxy = ChaosProxy::listen(here, node_api)
            .await
            .with_context(|| format!("listening at {here}"))?;
        let from_nodes = format!("-p tcp -s {} -d {}", region.address, node_api.ip());
        let rules = [
            Rule::nat(
                "PREROUTING",
                format!(
                    "{from_nodes} --dport {} -j DNAT --to-destination {}",
                    node_api.port(),
                    proxy.address
                ),
            ),
            Rule::filter(
                "FORWARD",
                format!("{from_nodes} --dport {} -j ACCEPT", proxy.address.port()),
            ),
        ];
        let rules = Rules::set(&platform.status.router_netns, &rules)?;
        let cut = cut_connections(&region.netns, node_api)?;
        let detour = Self {
            _rules: rules,
            proxy,
        };
        detour.is_used(cut).await?;
        Ok(detour)
    }

    async fn is_used(&self, processes: usize) -> Result<()> {
        wait::outcome(NODES_COME_WITHIN, || async {
            let open = self.proxy.observed().open;
            ensure!(
                open > 0 && open >= processes as u64,
                "an invalid run: of {processes} processes connected to the control plane, {open} came back through the proxy"
            );
            Ok(())
        })
        .await
    }
}

/// Resets every connection from a namespace to `target`, on both sides; how many processes had one. A rule would
/// only hold for new ones.
fn cut_connections(netns: &str, target: SocketAddr) -> Result<usize> {
    let killed = inside(
        netns,
        &["ss", "--kill", "-Htnp", "dst", &target.to_string()],
        "",
    )?;
    Ok(processes(&killed).len())
}

/// Those that `ss -p` names. One may have had a second connection for a moment, which need not come back.
fn processes(connections: &str) -> BTreeSet<&str> {
    let after_pid = connections.split("pid=").skip(1);
    after_pid
        .filter_map(|rest| rest.split(',').next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_two_connections_is_one() {
        let said = "ESTAB 0 0 10.96.2.2:50000 10.96.0.1:8444 users:((\"agent\",pid=41,fd=9))\n\
                    ESTAB 0 0 10.96.2.2:50001 10.96.0.1:8444 users:((\"edge-proxy\",pid=42,fd=7))\n\
                    ESTAB 0 0 10.96.2.2:50002 10.96.0.1:8444 users:((\"agent\",pid=41,fd=11))\n";
        assert_eq!(processes(said), BTreeSet::from(["41", "42"]));
    }
}
