//! A real build engine in a network namespace of its own, a real registry with token
//! authentication, and a builder on them. Everything ends with the value.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use agent::build::{self, Dependencies, Wanted};
use domain::{
    id::{BuildId, DeploymentId, OrganizationId, ServiceId},
    quantity::Span,
};
use protocol::{
    item::{BuildItem, BuildSource},
    report::{BuildReport, BuildState},
};
use testkit::git::Repository;
use tokio::sync::watch;

use super::{
    machine::{Cgroup, Namespace, Process, eventually, run},
    registry::Registry,
    surroundings::{Held, Lines, Platform},
};

const START: Duration = Duration::from_secs(60);
const BUILD: Duration = Duration::from_secs(180);

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
    engine: Option<Process>,
    pub namespace: Namespace,
    _cgroup: Cgroup,
    pub folder: tempfile::TempDir,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with_patience(Span::seconds(75)).await
    }

    /// With so long for an engine, a registry or a control plane that is away.
    pub async fn with_patience(patience: Span) -> Self {
        telemetry::init_crypto();
        let folder = tempfile::Builder::new()
            .prefix("railhead-build")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let namespace = Namespace::new();
        let registry = Arc::new(Registry::start(folder.path(), &namespace.host).await);
        let cgroup = Cgroup::new(&namespace.name, 256 << 20);
        let socket = folder.path().join("engine.sock");
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
            "patience": patience,
        }))
        .unwrap();
        let platform = Arc::new(Platform {
            registry,
            organization: OrganizationId::new(),
            archives: Mutex::default(),
            away: AtomicBool::new(false),
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
        let mut rig = Self {
            platform,
            lines,
            secrets,
            repositories,
            wanted,
            reports,
            config,
            engine: None,
            namespace,
            _cgroup: cgroup,
            folder,
        };
        rig.start_engine().await;
        rig.provide_base_image().await;
        rig
    }

    pub async fn start_engine(&mut self) {
        let registry = &self.platform.registry;
        self.engine = Some(engine(self.folder.path(), &self.namespace, registry));
        let socket = &self.config.socket;
        eventually("the engine answers", START, || {
            std::os::unix::net::UnixStream::connect(socket).is_ok()
        })
        .await;
    }

    pub async fn kill_engine(&mut self) {
        self.engine.take().unwrap().kill();
        // Its containerd dies with it, but not in the same moment, and the next engine would take it for alive.
        let pid = self.folder.path().join("exec/containerd/containerd.pid");
        let pid = std::fs::read_to_string(pid).unwrap();
        let containerd = Path::new("/proc").join(pid.trim());
        eventually("containerd has ended", START, || !containerd.exists()).await;
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
