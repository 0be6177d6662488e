//! A real certificate authority (Pebble) for one test, on ports of its own.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use testkit::wait::until;
use tokio::net::TcpStream;

use crate::orchestration::platform::DEADLINE;

pub struct Pebble {
    address: SocketAddr,
    /// Where it asks for hostnames: over HTTP, and in a TLS handshake.
    pub http: SocketAddr,
    pub tls: SocketAddr,
    directory: TempDir,
    process: Child,
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Pebble {
    /// One that looks names up at `names`, and refuses so many of 100 good nonces.
    pub async fn start(names: SocketAddr, rejected_nonces: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [address, management, http, tls] = [(); 4].map(|()| free_port());
        let path = |name: &str| directory.path().join(name).display().to_string();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        fs::write(path("certificate.pem"), certificate.pem()).unwrap();
        fs::write(path("key.pem"), key.serialize_pem()).unwrap();
        let config = json!({ "pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": path("certificate.pem"),
            "privateKey": path("key.pem"),
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        fs::write(path("config.json"), config.to_string()).unwrap();
        let log = fs::File::create(path("log")).unwrap();
        let process = Command::new("pebble")
            .args([
                "-config",
                &path("config.json"),
                "-dnsserver",
                &names.to_string(),
            ])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", rejected_nonces.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("pebble runs (./dev setup installs it)");
        until(DEADLINE, async || TcpStream::connect(address).await.is_ok()).await;
        Self {
            address,
            http,
            tls,
            directory,
            process,
        }
    }

    /// A table of the control plane's configuration file.
    pub fn configuration(&self, name: &str) -> String {
        format!(
            "[[certificates.authorities]]\n\
             name = \"{name}\"\n\
             directory = \"https://{}/dir\"\n\
             root_file = \"{}\"\n\
             contact = [\"mailto:ops@example.test\"]\n\
             terms_of_service_agreed = true\n\
             caa_identities = [\"pebble.test\"]\n",
            self.address,
            self.directory.path().join("certificate.pem").display(),
        )
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
