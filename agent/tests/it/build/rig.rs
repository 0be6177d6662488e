//! A real build engine in a network namespace of its own, a real registry with token
//! authentication, and a builder on them. Everything ends with the value.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use agent::{
    build::{self, ControlPlane, Dependencies, LogSink, Wanted},
    secrets::Secrets,
};
use async_trait::async_trait;
use domain::{
    id::{ArchiveId, BuildId, DeploymentId, OrganizationId, ServiceId},
    quantity::Span,
};
use link::client;
use protocol::{
    feed::SecretRef,
    item::{BuildItem, BuildSource},
    join::{RegistryToken, RegistryTokenRequest},
    log::{LogLine, LogSource},
    report::{BuildReport, BuildState},
};
use sha2::{Digest, Sha256};
use testkit::git::Repository;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    machine::{Cgroup, Namespace, Process, eventually, run},
    registry::Registry,
};

const START: Duration = Duration::from_secs(60);
const BUILD: Duration = Duration::from_secs(180);

/// The test's own control plane: tokens for one organization, archives from memory.
pub struct Platform {
    pub registry: Arc<Registry>,
    pub organization: OrganizationId,
    pub archives: Mutex<HashMap<ArchiveId, Vec<u8>>>,
}

#[async_trait]
impl ControlPlane for Platform {
    async fn registry_token(
        &self,
        request: &RegistryTokenRequest,
    ) -> Result<RegistryToken, client::Error> {
        let own = request
            .repository
            .starts_with(&format!("{}/", self.organization));
        let base = request.repository.starts_with("library/") && !request.push;
        if !own && !base {
            return Err(refused(403, "not a repository of this node's builds"));
        }
        let actions: &[&str] = if request.push {
            &["pull", "push"]
        } else {
            &["pull"]
        };
        let bases = request.mount_from.iter();
        let scopes = std::iter::once((request.repository.as_str(), actions))
            .chain(bases.map(|base| (base.as_str(), &["pull"][..])));
        Ok(self.registry.token_for(scopes))
    }

    async fn download_archive(
        &self,
        id: ArchiveId,
        sha256: &str,
        to: &Path,
        _: u64,
    ) -> Result<(), client::Error> {
        let bytes = self.archives.lock().unwrap().get(&id).cloned();
        let url = format!("/node/v1/archives/{id}");
        let bytes = bytes.ok_or_else(|| refused(404, "no such archive"))?;
        std::fs::write(to, &bytes).unwrap();
        let found = hex::encode(Sha256::digest(&bytes));
        if found == sha256 {
            return Ok(());
        }
        Err(client::Error::Checksum {
            url,
            expected: sha256.to_owned(),
            found,
        })
    }
}

fn refused(status: u16, detail: &str) -> client::Error {
    client::Error::Refused {
        url: "https://control-plane".into(),
        status: reqwest::StatusCode::from_u16(status).unwrap(),
        code: None,
        detail: detail.to_owned(),
    }
}

/// Keeps every line.
#[derive(Default)]
pub struct Lines(Mutex<HashMap<LogSource, Vec<LogLine>>>);

#[async_trait]
impl LogSink for Lines {
    async fn append(&self, source: LogSource, lines: Vec<LogLine>, _: u64) {
        self.0
            .lock()
            .unwrap()
            .entry(source)
            .or_default()
            .extend(lines);
    }
    async fn end(&self, _: LogSource) {}
}

impl Lines {
    pub fn of(&self, build: BuildId) -> String {
        let lines = self.0.lock().unwrap();
        let lines = lines.get(&LogSource::Build(build)).into_iter().flatten();
        lines.map(|line| format!("{}\n", line.text)).collect()
    }
}

/// Secrets by key.
#[derive(Default)]
pub struct Held(pub Mutex<BTreeMap<String, String>>);

impl Secrets for Held {
    fn open(&self, secret: &SecretRef) -> Option<Zeroizing<String>> {
        self.0
            .lock()
            .unwrap()
            .get(&secret.key)
            .cloned()
            .map(Zeroizing::new)
    }
}

impl Held {
    pub fn hold(&self, key: &str, value: &str) -> SecretRef {
        self.0
            .lock()
            .unwrap()
            .insert(key.to_owned(), value.to_owned());
        SecretRef {
            key: key.to_owned(),
            version: 1,
        }
    }
}

/// The whole of it.
pub struct Rig {
    pub platform: Arc<Platform>,
    pub lines: Arc<Lines>,
    pub secrets: Arc<Held>,
    pub repositories: PathBuf,
    wanted: watch::Sender<Wanted>,
    reports: watch::Receiver<Vec<BuildReport>>,
    pub config: build::Config,
    // Ends in this order.
    _engine: Process,
    pub namespace: Namespace,
    _cgroup: Cgroup,
    pub folder: tempfile::TempDir,
}

impl Rig {
    pub async fn start() -> Self {
        telemetry::init_crypto();
        let folder = tempfile::Builder::new()
            .prefix("railhead-build")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let namespace = Namespace::new();
        let registry = Arc::new(Registry::start(folder.path(), &namespace.host).await);
        let cgroup = Cgroup::new(&namespace.name, 256 << 20);
        let engine = engine(folder.path(), &namespace, &registry);
        let socket = folder.path().join("engine.sock");
        eventually("the engine answers", START, || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })
        .await;
        let repositories = folder.path().join("repositories");
        std::fs::create_dir(&repositories).unwrap();
        let extra_ca = folder.path().join("extra-ca.pem");
        std::fs::copy(registry.ca(), &extra_ca).unwrap();
        let config: build::Config = serde_json::from_value(serde_json::json!({
            "socket": socket,
            "netns": namespace.path(),
            "data_dir": folder.path().join("data"),
            "registry": registry.host,
            "file_roots": [repositories],
            "extra_ca_file": extra_ca,
            "max_source": "20Mi",
        }))
        .unwrap();
        let platform = Arc::new(Platform {
            registry,
            organization: OrganizationId::new(),
            archives: Mutex::default(),
        });
        let (lines, secrets) = (Arc::new(Lines::default()), Arc::new(Held::default()));
        let (wanted, receiver) = watch::channel(None);
        let dependencies = Dependencies {
            control_plane: platform.clone(),
            logs: lines.clone(),
            secrets: secrets.clone(),
            registry_ca: std::fs::read_to_string(platform.registry.ca()).unwrap(),
        };
        let reports = build::start(config.clone(), dependencies, receiver).unwrap();
        let rig = Self {
            platform,
            lines,
            secrets,
            repositories,
            wanted,
            reports,
            config,
            _engine: engine,
            namespace,
            _cgroup: cgroup,
            folder,
        };
        rig.provide_base_image().await;
        rig
    }

    /// `library/base`: busybox with its usual names.
    async fn provide_base_image(&self) {
        let root = self.folder.path().join("base");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir_all(root.join("tmp")).unwrap();
        run(
            "cp",
            &[
                "/bin/busybox",
                &root.join("bin/busybox").display().to_string(),
            ],
        );
        for name in [
            "sh", "cat", "cp", "ls", "sleep", "false", "echo", "wget", "nc", "dd", "grep", "mkdir",
            "test",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let tar = self.folder.path().join("base.tar");
        run(
            "tar",
            &[
                "-C",
                &root.display().to_string(),
                "-cf",
                &tar.display().to_string(),
                ".",
            ],
        );
        let tar = std::fs::read(tar).unwrap();
        let registry = &self.platform.registry;
        registry.provide("library/base", "amd64", &tar).await;
        registry.provide("library/arm", "arm64", &tar).await;
    }

    pub async fn docker(&self) -> bollard::Docker {
        bollard::Docker::connect_with_unix(
            &self.config.socket.display().to_string(),
            60,
            bollard::API_DEFAULT_VERSION,
        )
        .unwrap()
        .negotiate_version()
        .await
        .unwrap()
    }

    /// A git repository with these files on branch `main`; its `file://` address.
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> String {
        let repository = self.empty_repository(name);
        for (name, text) in files {
            repository.write(name, text);
        }
        if !files.is_empty() {
            repository.commit("First version");
        }
        repository.file_url()
    }

    /// A git repository without commits.
    pub fn empty_repository(&self, name: &str) -> Repository {
        Repository::create(&self.repositories.join(name))
    }

    /// A build of `repo`, with nothing special.
    pub fn item(&self, repo: &str) -> BuildItem {
        self.item_of(BuildSource::Git {
            repo: repo.to_owned(),
            reference: None,
            deploy_key: None,
        })
    }

    pub fn item_of(&self, source: BuildSource) -> BuildItem {
        let service = ServiceId::new();
        let organization = self.platform.organization;
        BuildItem {
            id: BuildId::new(),
            cancel: false,
            organization_id: organization,
            service_id: service,
            deployment_id: DeploymentId::new(),
            source,
            root: "/".into(),
            dockerfile_path: "Dockerfile".into(),
            args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            repository: format!("{}/{organization}/{service}", self.platform.registry.host),
            timeout: Span::seconds(120),
            traceparent: None,
        }
    }

    /// Makes the node's feed hold exactly this build.
    pub fn want(&self, item: &BuildItem) {
        let wanted = BTreeMap::from([(item.id, Arc::new(item.clone()))]);
        self.wanted.send_replace(Some(wanted));
    }

    /// Waits until a build is as `is` says.
    pub async fn wait(&self, id: BuildId, is: impl Fn(&BuildState) -> bool) -> BuildState {
        let mut reports = self.reports.clone();
        let found = reports.wait_for(|reports| reports.iter().any(|r| r.id == id && is(&r.state)));
        let found = tokio::time::timeout(BUILD, found).await;
        let Ok(found) = found else {
            panic!("{id}: {:?}\n{}", self.reports.borrow(), self.lines.of(id))
        };
        let found = found.unwrap();
        let report = found.iter().find(|report| report.id == id).unwrap();
        report.state.clone()
    }

    /// Builds and waits for the end.
    pub async fn build(&self, item: &BuildItem) -> BuildState {
        self.want(item);
        self.wait(item.id, |state| {
            matches!(state, BuildState::Succeeded(_) | BuildState::Failed { .. })
        })
        .await
    }

    /// Builds, and expects to fail: code and message.
    pub async fn fails(&self, item: &BuildItem) -> (String, String) {
        match self.build(item).await {
            BuildState::Failed { problem } => (problem.code, problem.message),
            state => panic!("{state:?}\n{}", self.lines.of(item.id)),
        }
    }
}

fn engine(folder: &Path, namespace: &Namespace, registry: &Registry) -> Process {
    let log = std::fs::File::create(folder.join("engine.log")).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let third = namespace.host.split('.').nth(2).unwrap();
    let child = Command::new("nsenter")
        .arg(format!("--net={}", namespace.path().display()))
        .arg("dockerd")
        .arg(format!("--host=unix://{}", path("engine.sock")))
        .arg(format!("--data-root={}", path("engine")))
        .arg(format!("--exec-root={}", path("exec")))
        .arg(format!("--pidfile={}", path("engine.pid")))
        .arg(format!("--bip=10.198.{third}.1/24"))
        .arg(format!("--registry-mirror=https://{}", registry.host))
        .arg(format!("--cgroup-parent=/{}", namespace.name))
        .env("SSL_CERT_FILE", registry.ca())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Process(child)
}
