//! A real authoritative name server (Knot DNS) for one test, on a port of its own.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use testkit::wait::until;

use crate::orchestration::platform::DEADLINE;

/// The zone that tests write.
pub const ZONE: &str = "example.test";
/// A zone that the server is to have, and can't read.
pub const BROKEN_ZONE: &str = "broken.test";

pub struct NameServer {
    address: SocketAddr,
    directory: TempDir,
    server: Option<Child>,
}

impl NameServer {
    /// Chooses where it will answer.
    pub fn new() -> Self {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self {
            address: free.local_addr().unwrap(),
            directory: tempfile::tempdir().unwrap(),
            server: None,
        }
    }

    /// Where it answers.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lines for the control plane's configuration file.
    pub fn configuration(&self) -> String {
        format!("[dns]\nresolvers = [\"{}\"]", self.address)
    }

    /// Answers with these records from now on.
    pub async fn serve(&mut self, records: &str) {
        self.stop();
        let directory = self.directory.path();
        let zone = format!(
            "$ORIGIN {ZONE}.\n$TTL 0\n@ SOA ns hostmaster 1 3600 600 86400 0\n@ NS ns\n\
             ns A 127.0.0.1\n{records}\n"
        );
        std::fs::write(directory.join("zone"), zone).unwrap();
        std::fs::write(directory.join("knot.conf"), self.knot_conf(directory)).unwrap();
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let server = Command::new("/usr/sbin/knotd")
            .arg("--config")
            .arg(directory.join("knot.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("knotd runs (./dev setup installs it)");
        self.server = Some(server);
        let log = directory.join("log");
        until(DEADLINE, async || {
            let said = std::fs::read_to_string(&log).unwrap();
            said.contains("server started") && said.contains(&format!("[{ZONE}.] loaded"))
        })
        .await;
    }

    fn knot_conf(&self, directory: &Path) -> String {
        let (address, directory) = (self.address, directory.display());
        let (ip, port) = (address.ip(), address.port());
        format!(
            "server:\n  rundir: {directory}\n  listen: {ip}@{port}\n\
             log:\n  - target: stdout\n    any: info\n\
             database:\n  storage: {directory}\n\
             zone:\n  - domain: {ZONE}\n    file: {directory}/zone\n\
             \x20 - domain: {BROKEN_ZONE}\n    file: {directory}/nothing\n"
        )
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop();
    }
}
