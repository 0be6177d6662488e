//! docker-registry with TLS and token authentication, and the key that signs its tokens.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use base64::Engine as _;
use flate2::{Compression, write::GzEncoder};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use protocol::join::RegistryToken;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use sha2::{Digest, Sha256};

use super::{
    git_https::Certificate,
    machine::{Process, eventually, listens},
};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub struct Registry {
    pub host: String,
    folder: PathBuf,
    key: EncodingKey,
    header: Header,
    process: Mutex<Option<Process>>,
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
        let ca = folder.join("ca.pem").display().to_string();
        let auth = serde_json::json!({ "token": {
            "realm": "https://127.0.0.1:1/never-asked", "service": "registry",
            "issuer": "test", "rootcertbundle": ca,
        }});
        configure(&folder, &host, &auth);
        let registry = Self {
            host,
            key: EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap(),
            header,
            folder,
            process: Mutex::default(),
        };
        registry.serve().await;
        registry
    }

    /// Begins, or begins again with what it has.
    pub async fn serve(&self) {
        *self.process.lock().unwrap() = Some(spawn(&self.folder, &self.host));
        eventually("the registry listens", Duration::from_secs(20), || {
            listens(&self.host)
        })
        .await;
    }

    pub fn kill(&self) {
        let process = self.process.lock().unwrap().take();
        process.unwrap().kill();
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// That of its address, whichever port.
    pub fn certificate(&self) -> Certificate {
        let leaf = CertificateDer::from_pem_file(self.folder.join("server.pem"));
        let key = PrivateKeyDer::from_pem_file(self.folder.join("server.key"));
        (leaf.unwrap(), key.unwrap())
    }

    pub fn token(&self, repository: &str, actions: &[&str]) -> RegistryToken {
        self.token_for([(repository, actions)])
    }

    pub fn token_for<'a>(
        &self,
        scopes: impl IntoIterator<Item = (&'a str, &'a [&'a str])>,
    ) -> RegistryToken {
        let access = scopes.into_iter().map(|(name, actions)| {
            serde_json::json!({"type": "repository", "name": name, "actions": actions})
        });
        let now = chrono::Utc::now().timestamp();
        let claims = serde_json::json!({
            "iss": "test", "sub": "test", "aud": "registry",
            "exp": now + 300, "nbf": now - 60, "iat": now, "jti": now.to_string(),
            "access": access.collect::<Vec<_>>(),
        });
        RegistryToken {
            token: jsonwebtoken::encode(&self.header, &claims, &self.key).unwrap(),
            expires_in_seconds: 300,
        }
    }

    /// The status and digest that the registry has for a manifest.
    pub async fn manifest(&self, repository: &str, reference: &str) -> (u16, Option<String>) {
        let answer = self.ask(reqwest::Method::HEAD, repository, reference).await;
        let digest = answer.headers().get("docker-content-digest");
        let digest = digest.map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), digest)
    }

    /// Digests of an image's layers.
    pub async fn layers(&self, repository: &str, reference: &str) -> Vec<String> {
        let answer = self.ask(reqwest::Method::GET, repository, reference).await;
        let manifest: serde_json::Value = answer.json().await.unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        let digests = layers.iter().map(|layer| layer["digest"].as_str().unwrap());
        digests.map(str::to_owned).collect()
    }

    /// The settings of an image: its command, user, ports.
    pub async fn settings(&self, repository: &str, reference: &str) -> serde_json::Value {
        let answer = self.ask(reqwest::Method::GET, repository, reference).await;
        let manifest: serde_json::Value = answer.json().await.unwrap();
        let path = format!("blobs/{}", manifest["config"]["digest"].as_str().unwrap());
        let get = self.request(reqwest::Method::GET, repository, &["pull"], &path);
        let config: serde_json::Value = get.send().await.unwrap().json().await.unwrap();
        config["config"].clone()
    }

    /// Puts a root filesystem (tar) there as an image of one layer, tagged `latest`.
    pub async fn provide(&self, repository: &str, architecture: &str, tar: &[u8]) {
        let settings = serde_json::json!({"Env": ["PATH=/bin"]});
        self.provide_with(repository, architecture, tar, &settings)
            .await;
    }

    /// The same with other settings. Its layer is compressed otherwise than the engine would.
    pub async fn provide_with(
        &self,
        repository: &str,
        architecture: &str,
        tar: &[u8],
        settings: &serde_json::Value,
    ) {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(tar).unwrap();
        let layer = gzip.finish().unwrap();
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
            "history": [{"created_by": "test"}],
        })
        .to_string();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(), "digest": digest(config.as_bytes()),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": layer.len(), "digest": digest(&layer),
            }],
        });
        self.upload(repository, config.into_bytes()).await;
        self.upload(repository, layer).await;
        let put = self
            .request(
                reqwest::Method::PUT,
                repository,
                &["pull", "push"],
                "manifests/latest",
            )
            .header("content-type", MANIFEST)
            .body(manifest.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(put.status().as_u16(), 201, "{}", put.text().await.unwrap());
    }

    async fn upload(&self, repository: &str, blob: Vec<u8>) {
        let actions = ["pull", "push"];
        let begun = self
            .request(
                reqwest::Method::POST,
                repository,
                &actions,
                "blobs/uploads/",
            )
            .send()
            .await
            .unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let done = self
            .client()
            .put(format!("{location}&digest={}", digest(&blob)))
            .bearer_auth(self.token(repository, &actions).token)
            .body(blob)
            .send()
            .await
            .unwrap();
        assert_eq!(done.status().as_u16(), 201);
    }

    fn client(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(self.ca()).unwrap()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy();
        client.build().unwrap()
    }

    fn request(
        &self,
        method: reqwest::Method,
        repository: &str,
        actions: &[&str],
        path: &str,
    ) -> reqwest::RequestBuilder {
        self.client()
            .request(
                method,
                format!("https://{}/v2/{repository}/{path}", self.host),
            )
            .bearer_auth(self.token(repository, actions).token)
    }

    async fn ask(
        &self,
        method: reqwest::Method,
        repository: &str,
        reference: &str,
    ) -> reqwest::Response {
        self.request(
            method,
            repository,
            &["pull"],
            &format!("manifests/{reference}"),
        )
        .header("accept", MANIFEST)
        .send()
        .await
        .unwrap()
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Somebody else's registry on the same address, with the same images.
pub struct Neighbour {
    pub host: String,
    _process: Process,
}

impl Neighbour {
    /// One that everybody may read, or one that wants a password.
    pub async fn start(registry: &Registry, address: &str, wants_password: bool) -> Self {
        let host = format!("{address}:{}", free_port(address));
        let passwords = registry.folder.join("htpasswd");
        std::fs::write(&passwords, "somebody:no-hash\n").unwrap();
        let auth = if wants_password {
            serde_json::json!({ "htpasswd": { "realm": "theirs", "path": passwords } })
        } else {
            serde_json::json!({})
        };
        configure(&registry.folder, &host, &auth);
        let process = spawn(&registry.folder, &host);
        eventually("the neighbour listens", Duration::from_secs(20), || {
            listens(&host)
        })
        .await;
        Self {
            host,
            _process: process,
        }
    }
}

fn configure(folder: &Path, host: &str, auth: &serde_json::Value) {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = serde_json::json!({
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": path("data")}},
        "http": {"addr": host, "tls": {"certificate": path("server.pem"), "key": path("server.key")}},
        "auth": auth,
    });
    std::fs::write(config_file(folder, host), config.to_string()).unwrap();
}

fn config_file(folder: &Path, host: &str) -> PathBuf {
    folder.join(format!("{host}.yml"))
}

fn spawn(folder: &Path, host: &str) -> Process {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(config_file(folder, host))
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
