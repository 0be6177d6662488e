//! Hostnames that tests bring: their records in the platform's name server, as at a DNS provider.

use std::{fs::File, path::PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::Platform;
use crate::command::succeed;

/// The zone that the platform's name server has (`xtask/src/dev/names.rs`).
const ZONE: &str = "example.test";

impl Platform {
    /// A hostname that leads to all edges, and says that it is the organization's.
    pub async fn bring_hostname(&self, label: &str) -> Result<String> {
        let mut records = format!(
            "_railhead.{label} TXT \"railhead-verification={}\"\n",
            self.organization
        );
        for edge in self.status.edges.values() {
            records.push_str(&format!("{label} A {}\n", edge.ip()));
        }
        self.add_records(&records).await?;
        Ok(format!("{label}.{ZONE}"))
    }

    fn names(&self) -> Result<PathBuf> {
        Ok(self.data()?.join("names"))
    }

    /// Other tests do so, too.
    async fn add_records(&self, records: &str) -> Result<()> {
        let folder = self.names()?;
        let lock = File::create(folder.join("lock")).context("locking the zone")?;
        lock.lock().context("locking the zone")?;
        let file = folder.join(format!("{ZONE}.zone"));
        let zone = std::fs::read_to_string(&file).context("reading the zone")?;
        let zone = format!("{}{records}", with_the_next_serial(&zone));
        std::fs::write(&file, zone).context("writing the zone")?;
        let mut reload = Command::new("/usr/sbin/knotc");
        reload
            .current_dir(&folder)
            .args(["-s", "control.sock", "-b", "zone-reload", ZONE]);
        succeed(&mut reload).await.map(drop)
    }

    /// The roots of the platform's certificate authority for such hostnames, PEM.
    pub async fn authority_roots(&self) -> Result<String> {
        let root = self.data()?.join("authority/certificate.pem");
        let url = format!("https://{}:15000/roots/0", self.host_address());
        let mut fetch = Command::new("curl");
        fetch.args(["-sS", "--fail", "--cacert"]).arg(root).arg(url);
        Ok(succeed(&mut fetch).await?.stdout)
    }
}

/// The server takes a zone that has a newer one.
fn with_the_next_serial(zone: &str) -> String {
    let begin = "@ SOA ns hostmaster ";
    let lines = zone.lines().map(|line| {
        let serial = line
            .strip_prefix(begin)
            .and_then(|rest| rest.split_once(' '));
        match serial.and_then(|(serial, rest)| Some((serial.parse::<u32>().ok()?, rest))) {
            Some((serial, rest)) => format!("{begin}{} {rest}\n", serial + 1),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}
