//! Where things are on the platform's network.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{Platform, Region};
use crate::fault::{heal_disk, remove_leftovers, remove_small_disks};

impl Platform {
    /// Where nodes connect to.
    pub fn node_api(&self) -> Result<SocketAddr> {
        let all = self.status.node_api.socket_addrs(|| None)?;
        all.first().copied().context("the node API has no address")
    }

    /// The region that a process belongs to, by its name.
    pub fn region_of(&self, process: &str) -> Result<&Region> {
        let mut all = self.status.regions.iter();
        all.find(|(name, _)| process.starts_with(name.as_str()))
            .map(|(_, region)| region)
            .with_context(|| format!("{process} is in no region"))
    }

    /// What a region's build engine writes to.
    pub fn build_disk(&self, region: &str) -> Result<PathBuf> {
        let run = self.status.regions[region].build_socket.parent();
        Ok(run.context("a socket is in a folder")?.join("build-disk"))
    }

    /// Removes the faults of a test that was killed before it could.
    pub(super) fn heal_leftovers(&self) -> Result<()> {
        if let Some(data) = self.status.ca_file.parent() {
            remove_small_disks(data)?;
        }
        for region in self.status.regions.keys() {
            heal_disk(&self.build_disk(region)?)?;
        }
        let regions = self.status.regions.values().map(|region| &region.netns);
        regions
            .chain([&self.status.router_netns])
            .try_for_each(|netns| remove_leftovers(netns))
    }
}
