//! Tokens against a real docker-registry: what it believes, and what it refuses.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use control_plane::{
    ca::{Authority, RegistryKey},
    registry::{Action, ISSUER, Issuer, Registry, Repository, SERVICE, Scope, Subject, answer},
};
use domain::id::{OrganizationId, ServiceId};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

struct Rig {
    host: String,
    authority: Authority,
    issuer: Issuer,
    http: reqwest::Client,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn authority() -> Authority {
    let (certificate, key) = Authority::generate("railhead.test").unwrap();
    Authority::from_pem(&certificate, &key).unwrap()
}

fn registry_key(authority: &Authority) -> RegistryKey {
    let issued = authority
        .issue_server(&["railhead-registry-token".to_owned()])
        .unwrap();
    RegistryKey {
        chain_pem: issued.chain_pem,
        key_pem: issued.key_pem,
    }
}

impl Rig {
    /// `None` where no registry is installed.
    async fn start() -> Option<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let authority = authority();
        let key = registry_key(&authority);
        let server = authority.issue_server(&["127.0.0.1".to_owned()]).unwrap();
        for (name, text) in [
            ("roots.pem", &key.chain_pem),
            ("server.pem", &server.chain_pem),
            ("server.key", &server.key_pem),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let host = format!("127.0.0.1:{port}");
        let process = spawn(folder.path(), &host)?;
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(&host).is_err() {
            assert!(Instant::now() < end, "the registry does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let ca = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .build();
        Some(Self {
            host,
            issuer: Issuer::new(&key).unwrap(),
            authority,
            http: http.unwrap(),
            process,
            _folder: folder,
        })
    }

    fn token(&self, repository: &Repository, actions: &[Action]) -> String {
        let scope = Scope {
            repository: repository.clone(),
            actions: actions.iter().copied().collect(),
        };
        self.issuer
            .issue("test", &[scope], Utc::now())
            .unwrap()
            .token
    }

    async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        token: Option<&str>,
        body: Option<(&str, Vec<u8>)>,
    ) -> reqwest::Response {
        let mut request = self
            .http
            .request(method, format!("https://{}/v2/{path}", self.host));
        // Without it the registry would convert the manifest to an older kind.
        request = request.header("accept", MANIFEST);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body);
        }
        request.send().await.unwrap()
    }

    async fn status(&self, path: &str, token: Option<&str>) -> u16 {
        let answer = self.ask(reqwest::Method::GET, path, token, None).await;
        answer.status().as_u16()
    }

    async fn blob(&self, repository: &Repository, token: &str, bytes: &[u8]) -> String {
        let path = format!("{repository}/blobs/uploads/");
        let begun = self
            .ask(reqwest::Method::POST, &path, Some(token), None)
            .await;
        assert_eq!(
            begun.status().as_u16(),
            202,
            "{}",
            begun.text().await.unwrap()
        );
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
        let done = self
            .http
            .put(format!("{location}&digest={digest}"))
            .bearer_auth(token)
            .body(bytes.to_vec())
            .send()
            .await
            .unwrap();
        assert_eq!(done.status().as_u16(), 201);
        digest
    }

    /// Pushes a small image.
    async fn push(&self, repository: &Repository, tag: &str) {
        let token = self.token(repository, &[Action::Pull, Action::Push]);
        let config = format!(r#"{{"architecture":"amd64","os":"linux","tag":"{tag}"}}"#);
        let digest = self.blob(repository, &token, config.as_bytes()).await;
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(), "digest": digest,
            },
        });
        let path = format!("{repository}/manifests/{tag}");
        let body = Some((MANIFEST, manifest.to_string().into_bytes()));
        let put = self
            .ask(reqwest::Method::PUT, &path, Some(&token), body)
            .await;
        assert_eq!(put.status().as_u16(), 201, "{}", put.text().await.unwrap());
    }
}

fn spawn(folder: &Path, host: &str) -> Option<Child> {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = serde_json::json!({
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": path("data")}, "delete": {"enabled": true}},
        "http": {"addr": host, "tls": {"certificate": path("server.pem"), "key": path("server.key")}},
        "auth": {"token": {
            "realm": "https://127.0.0.1:1/v1/registry/token", "service": SERVICE,
            "issuer": ISSUER, "rootcertbundle": path("roots.pem"),
        }},
    });
    let file = folder.join("config.yml");
    std::fs::write(&file, config.to_string()).unwrap();
    Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

fn repository(organization: OrganizationId) -> Repository {
    Repository::Service {
        organization,
        service: ServiceId::new(),
    }
}

#[tokio::test]
async fn the_registry_believes_exactly_what_a_token_says() {
    let Some(rig) = Rig::start().await else {
        return;
    };
    let organization = OrganizationId::new();
    let (own, other) = (repository(organization), repository(organization));
    rig.push(&own, "one").await;
    rig.push(&other, "one").await;
    let manifest = |repository: &Repository| format!("{repository}/manifests/one");

    let pull = rig.token(&own, &[Action::Pull]);
    assert_eq!(rig.status(&manifest(&own), Some(&pull)).await, 200);
    assert_eq!(rig.status(&manifest(&other), Some(&pull)).await, 401);
    assert_eq!(rig.status(&manifest(&own), None).await, 401);
    assert_eq!(rig.status("_catalog", Some(&pull)).await, 401);
    let upload = format!("{own}/blobs/uploads/");
    let begun = rig
        .ask(reqwest::Method::POST, &upload, Some(&pull), None)
        .await;
    assert_eq!(begun.status().as_u16(), 401, "a pull token pushes");
    let delete = rig
        .ask(reqwest::Method::DELETE, &manifest(&own), Some(&pull), None)
        .await;
    assert_eq!(delete.status().as_u16(), 401, "a pull token deletes");
}

#[tokio::test]
async fn expired_tokens_and_tokens_of_another_platform_are_refused() {
    let Some(rig) = Rig::start().await else {
        return;
    };
    let own = repository(OrganizationId::new());
    rig.push(&own, "one").await;
    let path = format!("{own}/manifests/one");
    let scope = || Scope {
        repository: own.clone(),
        actions: BTreeSet::from([Action::Pull]),
    };
    let before = Utc::now() - TimeDelta::hours(1);
    let expired = rig.issuer.issue("test", &[scope()], before).unwrap().token;
    let foreign = Issuer::new(&registry_key(&authority())).unwrap();
    let foreign = foreign.issue("test", &[scope()], Utc::now()).unwrap().token;
    let good = rig.token(&own, &[Action::Pull]);
    let (head, _) = good.rsplit_once('.').unwrap();
    for (token, status) in [
        (good.as_str(), 200),
        (&expired, 401),
        (&foreign, 401),
        (&format!("{head}.{}", "A".repeat(86)), 401),
    ] {
        assert_eq!(rig.status(&path, Some(token)).await, status);
    }
}

#[tokio::test]
async fn anybody_pulls_base_images_and_nothing_else() {
    let Some(rig) = Rig::start().await else {
        return;
    };
    let base: Repository = "library/python".parse().unwrap();
    let own = repository(OrganizationId::new());
    rig.push(&base, "one").await;
    rig.push(&own, "one").await;
    let ask = |scope: String| {
        let answer = answer(&rig.issuer, &Subject::Anonymous, [scope.as_str()]);
        answer.unwrap().token
    };
    for (repository, status) in [(&base, 200), (&own, 401)] {
        let token = ask(format!("repository:{repository}:pull,push"));
        let path = format!("{repository}/manifests/one");
        assert_eq!(rig.status(&path, Some(&token)).await, status);
        let upload = format!("{repository}/blobs/uploads/");
        let begun = rig
            .ask(reqwest::Method::POST, &upload, Some(&token), None)
            .await;
        assert_eq!(begun.status().as_u16(), 401, "{repository}");
    }
}

#[tokio::test]
async fn a_deleted_services_images_are_gone_and_others_stay() {
    let Some(rig) = Rig::start().await else {
        return;
    };
    let organization = OrganizationId::new();
    let (gone, stays) = (ServiceId::new(), ServiceId::new());
    let repository = |service| Repository::Service {
        organization,
        service,
    };
    for tag in ["one", "two"] {
        rig.push(&repository(gone), tag).await;
    }
    rig.push(&repository(stays), "one").await;
    let client = Registry::new(&rig.host, rig.authority.pem()).unwrap();
    for _ in 0..2 {
        client
            .delete_images(&rig.issuer, organization, gone)
            .await
            .unwrap();
    }
    let never_pushed = ServiceId::new();
    client
        .delete_images(&rig.issuer, organization, never_pushed)
        .await
        .unwrap();
    for (service, tag, status) in [(gone, "one", 404), (gone, "two", 404), (stays, "one", 200)] {
        let repository = repository(service);
        let token = rig.token(&repository, &[Action::Pull]);
        let path = format!("{repository}/manifests/{tag}");
        assert_eq!(rig.status(&path, Some(&token)).await, status, "{path}");
    }
}
