//! docker-registry with TLS and token authentication, and the key that signs its tokens.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use base64::Engine as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use protocol::join::RegistryToken;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::rig::{Process, eventually, listens};

pub struct Registry {
    pub host: String,
    folder: PathBuf,
    key: EncodingKey,
    header: Header,
    _process: Process,
}

impl Registry {
    pub async fn start(folder: &Path, address: &str) -> Self {
        let folder = folder.join("registry");
        std::fs::create_dir(&folder).unwrap();
        let host = format!("{address}:{}", free_port(address));
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::from_params(&params, &key);
        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec![address.to_owned()]).unwrap();
        let server = server.signed_by(&server_key, &issuer).unwrap();
        std::fs::write(folder.join("ca.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
        std::fs::write(folder.join("server.key"), server_key.serialize_pem()).unwrap();
        let mut header = Header::new(Algorithm::ES256);
        let der = base64::engine::general_purpose::STANDARD.encode(certificate.der());
        header.x5c = Some(vec![der]);
        let process = spawn(&folder, &host);
        eventually("the registry listens", Duration::from_secs(20), || {
            listens(&host)
        })
        .await;
        Self {
            host,
            key: EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap(),
            header,
            folder,
            _process: process,
        }
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub fn token(&self, repository: &str, actions: &[&str]) -> RegistryToken {
        let now = chrono::Utc::now().timestamp();
        let claims = serde_json::json!({
            "iss": "test", "sub": "test", "aud": "registry",
            "exp": now + 300, "nbf": now - 60, "iat": now, "jti": now.to_string(),
            "access": [{"type": "repository", "name": repository, "actions": actions}],
        });
        RegistryToken {
            token: jsonwebtoken::encode(&self.header, &claims, &self.key).unwrap(),
            expires_in_seconds: 300,
        }
    }

    /// The status and digest that the registry has for a manifest.
    pub async fn manifest(&self, repository: &str, reference: &str) -> (u16, Option<String>) {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(self.ca()).unwrap()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .build()
            .unwrap();
        let answer = client
            .head(format!(
                "https://{}/v2/{repository}/manifests/{reference}",
                self.host
            ))
            .bearer_auth(self.token(repository, &["pull"]).token)
            .header(
                "accept",
                "application/vnd.docker.distribution.manifest.v2+json",
            )
            .send()
            .await
            .unwrap();
        let digest = answer.headers().get("docker-content-digest");
        let digest = digest.map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), digest)
    }
}

fn spawn(folder: &Path, host: &str) -> Process {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = serde_json::json!({
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": path("data")}},
        "http": {"addr": host, "tls": {"certificate": path("server.pem"), "key": path("server.key")}},
        "auth": {"token": {
            "realm": "https://127.0.0.1:1/never-asked", "service": "registry",
            "issuer": "test", "rootcertbundle": path("ca.pem"),
        }},
    });
    let file = folder.join("config.yml");
    std::fs::write(&file, config.to_string()).unwrap();
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Process(child)
}

/// A port that was free a moment ago.
pub fn free_port(address: &str) -> u16 {
    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
