//! The domain name system as tenants of the local platform find it: a name server (Knot DNS) with one zone, as a DNS
//! provider would have it for them. Whoever tries a hostname of their own writes its records into the zone's file.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{
    control_plane::fingerprint,
    plan::{Plan, port},
    process::{Process, Ready, write_whole},
};

/// The zone in which tenants' own hostnames are.
pub const ZONE: &str = "example.test";

/// Where its records are, and the socket at which `knotc -s control.sock zone-reload example.test` has them read again.
fn folder(plan: &Plan) -> PathBuf {
    plan.data().join("names")
}

/// The server, with its configuration written, and a zone without hostnames where there is none yet.
pub fn process(plan: &Plan) -> Result<Process> {
    let zone = folder(plan).join(format!("{ZONE}.zone"));
    if !zone.exists() {
        write_whole(&zone, &empty_zone(plan)).context("making the zone of tenants' hostnames")?;
    }
    let file = plan.config("knot.conf");
    write_whole(&file, &configuration(plan))?;
    let config = file.display().to_string();
    let mut process = Process::new("names", 15, ["/usr/sbin/knotd", "--config", &config]);
    process.fingerprint = fingerprint(&file)?;
    process.ready = Ready::Started;
    Ok(process)
}

fn empty_zone(plan: &Plan) -> String {
    let host = plan.host();
    format!(
        "$ORIGIN {ZONE}.\n$TTL 0\n@ SOA ns hostmaster 1 3600 600 86400 0\n@ NS ns\nns A {host}\n"
    )
}

fn configuration(plan: &Plan) -> String {
    let (host, port, folder) = (plan.host(), port::DNS, folder(plan));
    let folder = folder.display();
    format!(
        "server:\n  rundir: {folder}\n  listen: {host}@{port}\n\
         log:\n  - target: stderr\n    any: info\n\
         control:\n  listen: {folder}/control.sock\n\
         database:\n  storage: {folder}\n\
         zone:\n  - domain: {ZONE}\n    file: {folder}/{ZONE}.zone\n    zonefile-load: whole\n    \
         journal-content: none\n"
    )
}
