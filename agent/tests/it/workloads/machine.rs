//! A machine of the test's own: a network namespace with a Docker Engine and a registry in it, and
//! an "outside" beyond a wire. The test's thread moves into the namespace, so the agent's firewall
//! and probes act there and nowhere else. Everything ends with the value.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bollard::{
    body_full,
    query_parameters::{
        ImportImageOptionsBuilder, PushImageOptionsBuilder, RemoveImageOptionsBuilder,
    },
};
use futures::{StreamExt, TryStreamExt};

use super::image::archive;

/// Where host ports are published, and where the outside is.
pub const ADDRESS: &str = "198.51.100.1";
pub const OUTSIDE: &str = "198.51.100.2";
/// Beyond the wire too, and denied to workloads.
pub const DENIED: &str = "10.96.0.1";
pub const METADATA: &str = "169.254.169.254";

const REGISTRY: &str = "127.0.0.1:5000";
const START: Duration = Duration::from_secs(60);

/// Runs a test on a machine of its own; says what is missing where that is not possible.
pub fn on_a_machine<F: Future<Output = ()>>(test: impl FnOnce(Machine) -> F + Send) {
    if !possible() {
        return;
    }
    // A thread of its own, because a thread never leaves the namespace again.
    let inside = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        telemetry::init_crypto();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { test(Machine::start().await).await });
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(inside).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[allow(clippy::print_stderr)]
fn possible() -> bool {
    let programs = [
        "ip",
        "iptables",
        "dockerd",
        "docker-registry",
        "busybox",
        "unshare",
        "nsenter",
    ];
    let missing: Vec<&str> = programs
        .into_iter()
        .filter(|program| !on_path(program))
        .collect();
    let root = nix::unistd::geteuid().is_root();
    if !root || !missing.is_empty() {
        eprintln!("skipped: needs root and {missing:?}; ./dev setup installs them");
    }
    root && missing.is_empty()
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Runs a program in the machine's namespace.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// What is waited for, told when it does not come.
pub trait What {
    fn text(&self) -> String;
}

impl What for &str {
    fn text(&self) -> String {
        (*self).to_owned()
    }
}

impl<F: Fn() -> String> What for F {
    fn text(&self) -> String {
        self()
    }
}

/// Waits for a state of the world.
pub async fn until<T>(what: impl What, mut state: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + START;
    loop {
        if let Some(value) = state().await {
            return value;
        }
        assert!(Instant::now() < end, "never: {}", what.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        // It may have been killed by the test.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn spawn(program: &str, arguments: &[&str], log: &Path) -> Process {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Process(child)
}

/// The machine.
pub struct Machine {
    engine: Option<Process>,
    _registry: Process,
    _outside: Process,
    folder: tempfile::TempDir,
}

impl Machine {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        let outside = start_outside(folder.path());
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let registry = start_registry(folder.path());
        let mut machine = Self {
            engine: None,
            _registry: registry,
            _outside: outside,
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

    pub async fn start_engine(&mut self) {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let arguments = [
            format!("--host=unix://{}", path("docker.sock")),
            format!("--data-root={}", path("data")),
            format!("--exec-root={}", path("exec")),
            format!("--pidfile={}", path("docker.pid")),
            "--live-restore".to_owned(),
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

/// Another machine beyond a wire, which answers HTTP on every address of its own.
fn start_outside(folder: &Path) -> Process {
    let www = folder.join("www");
    std::fs::create_dir(&www).unwrap();
    std::fs::write(www.join("index.html"), "outside").unwrap();
    let outside = spawn(
        "unshare",
        &[
            "--net",
            "busybox",
            "httpd",
            "-f",
            "-p",
            "80",
            "-h",
            www.to_str().unwrap(),
        ],
        &folder.join("outside.log"),
    );
    let pid = outside.0.id().to_string();
    // Until `unshare` has made the namespace, the wire would end here.
    let end = Instant::now() + START;
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    while namespace(&pid) == namespace("thread-self") {
        assert!(Instant::now() < end, "no namespace for the outside");
        std::thread::sleep(Duration::from_millis(10));
    }
    run(
        "ip",
        &[
            "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &pid,
        ],
    );
    run(
        "ip",
        &["addr", "add", &format!("{ADDRESS}/24"), "dev", "wire"],
    );
    run("ip", &["link", "set", "wire", "up"]);
    run("ip", &["route", "add", "default", "via", OUTSIDE]);
    let there = |arguments: &[&str]| {
        let net = format!("--net=/proc/{pid}/ns/net");
        run("nsenter", &[&[net.as_str(), "ip"], arguments].concat());
    };
    for address in [OUTSIDE, DENIED, METADATA] {
        there(&["addr", "add", &format!("{address}/24"), "dev", "wire"]);
    }
    there(&["link", "set", "lo", "up"]);
    there(&["link", "set", "wire", "up"]);
    there(&["route", "add", "default", "via", ADDRESS]);
    outside
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

/// The lines of a program that runs in a container, and its exit code.
pub async fn exec(
    client: &bollard::Docker,
    instance: domain::id::InstanceId,
    command: &[&str],
) -> (String, i64) {
    use bollard::exec::{StartExecOptions, StartExecResults};
    let config = bollard::models::ExecConfig {
        cmd: Some(command.iter().map(|part| (*part).to_owned()).collect()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..Default::default()
    };
    let made = client
        .create_exec(&format!("rh-{instance}"), config)
        .await
        .unwrap();
    let mut text = String::new();
    let started = client
        .start_exec(&made.id, None::<StartExecOptions>)
        .await
        .unwrap();
    if let StartExecResults::Attached { mut output, .. } = started {
        while let Some(Ok(line)) = output.next().await {
            text.push_str(&line.to_string());
        }
    }
    let done = client.inspect_exec(&made.id).await.unwrap();
    (text, done.exit_code.unwrap_or(-1))
}
