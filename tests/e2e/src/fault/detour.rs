//! The way of a region's nodes to the control plane, led through a proxy that makes it slow or breaks it.

use std::{net::SocketAddr, time::Duration};

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

    async fn is_used(&self, connections: usize) -> Result<()> {
        wait::outcome(NODES_COME_WITHIN, || async {
            let open = self.proxy.observed().open;
            ensure!(
                open > 0 && open >= connections as u64,
                "an invalid run: of {connections} connections to the control plane, {open} came back through the proxy"
            );
            Ok(())
        })
        .await
    }
}

/// Resets every connection from a namespace to `target`, on both sides; how many there were. A rule would
/// only hold for new ones.
fn cut_connections(netns: &str, target: SocketAddr) -> Result<usize> {
    let killed = inside(
        netns,
        &["ss", "--kill", "-Htn", "dst", &target.to_string()],
        "",
    )?;
    Ok(killed.lines().count())
}
