//! A real authoritative name server (Knot DNS) for one test, on a port of its own.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tempfile::TempDir;
use testkit::wait::until;

use crate::orchestration::platform::DEADLINE;

/// The zone that tests write.
const ZONE: &str = "example.test";
/// A zone that the server is to have, and can't read.
pub const BROKEN_ZONE: &str = "broken.test";
/// Who may transfer the zone and update it.
pub const KEY_NAME: &str = "railhead";
/// One that the server knows, and that has no such right.
pub const IDLE_KEY_NAME: &str = "idle";

pub struct NameServer {
    zone: &'static str,
    address: SocketAddr,
    directory: TempDir,
    server: Option<Child>,
}

impl NameServer {
    /// Chooses where it will answer.
    pub fn new() -> Self {
        Self::of(ZONE)
    }

    /// The same for another zone.
    pub fn of(zone: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tsig.key"), secret()).unwrap();
        Self {
            zone,
            address: free_address(),
            directory,
            server: None,
        }
    }

    /// Where it answers, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds the secret of both keys.
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("tsig.key")
    }

    /// Lines for the control plane's configuration file.
    pub fn configuration(&self) -> String {
        format!("[dns]\nresolvers = [\"{}\"]", self.address)
    }

    /// Lines for one that keeps its own names here.
    pub fn provider_configuration(&self) -> String {
        let (zone, address) = (self.zone, self.address);
        let key_file = self.key_file();
        format!(
            "[dns.provider]\nzone = \"{zone}\"\nname_servers = [\"{address}\"]\n\
             [dns.provider.rfc2136]\nserver = \"{address}\"\nkey_name = \"{KEY_NAME}\"\nkey_file = \"{}\"\n",
            key_file.display()
        )
    }

    /// Answers with these records from now on.
    pub async fn serve(&mut self, records: &str) {
        self.stop();
        let directory = self.directory.path();
        let zone = format!(
            "$ORIGIN {}.\n$TTL 0\n@ SOA ns hostmaster 1 3600 600 86400 0\n@ NS ns\n\
             ns A 127.0.0.1\n{records}\n",
            self.zone
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
            said.contains("server started") && said.contains(&format!("[{}.] loaded", self.zone))
        })
        .await;
    }

    /// Changes the zone as its operator would: `zone-set` or `zone-unset`, with owner and the rest.
    pub fn edit(&self, edits: &[&str]) {
        self.knotc("zone-begin", "");
        for edit in edits {
            let (command, rest) = edit.split_once(' ').unwrap();
            self.knotc(command, rest);
        }
        self.knotc("zone-commit", "");
    }

    fn knotc(&self, command: &str, rest: &str) {
        let output = Command::new("/usr/sbin/knotc")
            .arg("--socket")
            .arg(self.directory.path().join("knot.sock"))
            .args([command, self.zone])
            .args(rest.split_whitespace())
            .output()
            .expect("knotc runs (./dev setup installs it)");
        assert!(output.status.success(), "{command} {rest}: {output:?}");
    }

    fn knot_conf(&self, directory: &Path) -> String {
        let (address, directory) = (self.address, directory.display());
        let (ip, port, zone, secret) = (address.ip(), address.port(), self.zone, secret());
        format!(
            "server:\n  rundir: {directory}\n  listen: {ip}@{port}\n\
             key:\n\
             \x20 - id: {KEY_NAME}\n    algorithm: hmac-sha256\n    secret: {secret}\n\
             \x20 - id: {IDLE_KEY_NAME}\n    algorithm: hmac-sha256\n    secret: {secret}\n\
             acl:\n  - id: {KEY_NAME}\n    key: {KEY_NAME}\n    action: [transfer, update]\n\
             log:\n  - target: stdout\n    any: info\n\
             database:\n  storage: {directory}\n\
             zone:\n  - domain: {zone}\n    file: {directory}/zone\n    acl: {KEY_NAME}\n\
             \x20 - domain: {BROKEN_ZONE}\n    file: {directory}/nothing\n"
        )
    }

    /// Answers nobody any more.
    pub fn stop(&mut self) {
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

fn secret() -> String {
    BASE64_STANDARD.encode([7_u8; 32])
}

/// Free for both: questions come over UDP, updates and transfers over TCP.
fn free_address() -> SocketAddr {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
