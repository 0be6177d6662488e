//! A machine of the test's own: a network namespace with a Docker Engine and a registry in it, and
//! an "outside" beyond a wire. The test's thread moves into the namespace, so the agent's firewall
//! and probes act there and nowhere else. Everything ends with the value.

use std::path::{Path, PathBuf};

use agent::runtime::architecture;
use bollard::{
    body_full,
    models::ContainerCreateBody,
    query_parameters::{
        ImportImageOptionsBuilder, PushImageOptionsBuilder, RemoveImageOptionsBuilder,
    },
};
use futures::TryStreamExt;

use super::{
    image::archive,
    outside,
    process::{Process, run, spawn, until},
};
use crate::programs;

const REGISTRY: &str = "127.0.0.1:5000";
const NEEDED: [&str; 7] = [
    "ip",
    "iptables",
    "dockerd",
    "docker-registry",
    "busybox",
    "unshare",
    "nsenter",
];

/// Runs a test on a machine of its own; says what is missing where that is not possible.
pub fn on_a_machine<F: Future<Output = ()>>(test: impl FnOnce(Machine) -> F + Send) {
    in_a_network(move || async move { test(Machine::start().await).await });
}

/// Runs a test in a network of its own, where nothing is but the loopback; says what is missing where that is not
/// possible.
pub fn in_a_network<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    if !programs::possible(&NEEDED) {
        return;
    }
    // A thread of its own, because a thread never leaves the namespace again.
    let inside = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        telemetry::init_crypto();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(inside).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The machine.
pub struct Machine {
    engine: Option<Process>,
    _registry: Process,
    outside: Process,
    folder: tempfile::TempDir,
}

impl Machine {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outside = outside::start(folder.path());
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let registry = start_registry(folder.path());
        let mut machine = Self {
            engine: None,
            _registry: registry,
            outside,
            folder,
        };
        machine.start_engine().await;
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("docker.sock")
    }

    pub fn client(&self) -> bollard::Docker {
        let socket = self.socket();
        bollard::Docker::connect_with_socket(
            socket.to_str().unwrap(),
            60,
            bollard::API_DEFAULT_VERSION,
        )
        .unwrap()
    }

    /// The network of the machine beyond the wire.
    pub fn outside(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.outside.0.id()))
    }

    pub async fn start_engine(&mut self) {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let arguments = [
            format!("--host=unix://{}", path("docker.sock")),
            format!("--data-root={}", path("data")),
            format!("--exec-root={}", path("exec")),
            format!("--pidfile={}", path("docker.pid")),
            "--live-restore".to_owned(),
            "--userland-proxy=false".to_owned(),
            "--bip=172.31.255.1/24".to_owned(),
            "--default-address-pool=base=172.30.0.0/16,size=24".to_owned(),
            "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.engine = Some(spawn("dockerd", &arguments, &self.path("docker.log")));
        let log = self.path("docker.log");
        until(
            || format!("the engine answers; see {}", log.display()),
            async || {
                let client = tokio::fs::try_exists(self.socket())
                    .await
                    .ok()?
                    .then(|| self.client())?;
                client.ping().await.ok()
            },
        )
        .await;
    }

    /// As by a crash of the engine: nothing is said to anybody.
    pub async fn kill_engine(&mut self) {
        let mut engine = self.engine.take().unwrap();
        engine.0.kill().unwrap();
        engine.0.wait().unwrap();
        // The engine's containerd dies with it, but not in the same moment.
        let pid = std::fs::read_to_string(self.path("exec/containerd/containerd.pid")).unwrap();
        until("containerd has ended", async || {
            let alive = Path::new("/proc").join(pid.trim()).exists();
            (!alive).then_some(())
        })
        .await;
    }

    /// Pushes an image of busybox to the registry; it is not in the engine afterwards. Answers its
    /// name by digest.
    pub async fn image(
        &self,
        name: &str,
        user: &str,
        command: &[&str],
        architecture: &str,
    ) -> String {
        let client = self.client();
        let repository = format!("{REGISTRY}/org/{name}");
        let tagged = format!("{repository}:1");
        let archive = archive(&tagged, user, command, architecture);
        let options = ImportImageOptionsBuilder::new().build();
        let loaded = client.import_image(options, body_full(archive.into()), None);
        loaded.try_collect::<Vec<_>>().await.unwrap();
        let options = PushImageOptionsBuilder::new().tag("1").build();
        let pushed = client.push_image(&repository, Some(options), None);
        pushed.try_collect::<Vec<_>>().await.unwrap();
        let found = client.inspect_image(&tagged).await.unwrap();
        let digest = found.repo_digests.unwrap().remove(0);
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        client
            .remove_image(&tagged, Some(options), None)
            .await
            .unwrap();
        digest
    }

    /// A container that somebody has made who knows nothing of the platform, not started; its id.
    pub async fn container(&self) -> String {
        const IMAGE: &str = "somebody:1";
        let client = self.client();
        let archive = archive(IMAGE, "1000", &["sleep", "600"], architecture());
        let options = ImportImageOptionsBuilder::new().build();
        let loaded = client.import_image(options, body_full(archive.into()), None);
        loaded.try_collect::<Vec<_>>().await.unwrap();
        let container = ContainerCreateBody {
            image: Some(IMAGE.to_owned()),
            ..ContainerCreateBody::default()
        };
        client.create_container(None, container).await.unwrap().id
    }

    /// The first process of an instance's container.
    pub async fn pid(&self, instance: domain::id::InstanceId) -> i64 {
        let found = self
            .client()
            .inspect_container(&format!("rh-{instance}"), None)
            .await;
        found.unwrap().state.unwrap().pid.unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
        }
        drop(self.engine.take());
        for shim in self.shims() {
            // With its shim a container ends; with live-restore it outlives the engine.
            let _ = nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGTERM);
        }
        unmount_below(self.folder.path());
    }
}

impl Machine {
    fn shims(&self) -> Vec<nix::unistd::Pid> {
        let ours = self.path("exec/containerd/containerd.sock");
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter(|process| {
                let line =
                    std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
                line.contains("containerd-shim")
                    && line.split('\0').any(|part| Path::new(part) == ours)
            })
            .filter_map(|process| process.file_name().to_str()?.parse().ok())
            .map(nix::unistd::Pid::from_raw)
            .collect()
    }
}

fn unmount_below(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for mount in below.filter(|mount| Path::new(mount).starts_with(folder)) {
        let _ = nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH);
    }
}

fn start_registry(folder: &Path) -> Process {
    let config = folder.join("registry.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{REGISTRY}\"}}\n",
        folder.join("registry").display()
    );
    std::fs::write(&config, text).unwrap();
    spawn(
        "docker-registry",
        &["serve", config.to_str().unwrap()],
        &folder.join("registry.log"),
    )
}
