//! What a test needs of the machine: programs, a network namespace, a control group, processes.
//! Each ends with its value.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::programs;

pub use crate::programs::run;

/// Whether this machine can run these tests; says what is missing when it can't.
pub fn possible() -> bool {
    programs::possible(&[
        "ip",
        "nsenter",
        "setpriv",
        "prlimit",
        "dockerd",
        "docker-registry",
        "git",
        "busybox",
    ])
}

/// Waits for a state of the world.
pub async fn eventually(what: &str, limit: Duration, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !is() {
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A process that ends with this value.
pub struct Process(pub Child);

impl Process {
    /// As by a crash: it can tidy nothing up.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// A network namespace joined to the machine by a pair of interfaces.
pub struct Namespace {
    pub name: String,
    /// The machine's end: the registry and servers of tests listen here.
    pub host: String,
    inside: String,
}

impl Namespace {
    pub fn new() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let started = STARTED.fetch_add(1, Ordering::Relaxed);
        let number = (std::process::id() + started * 997) % 8192;
        let (second, third) = (200 + number / 256 % 32, number % 256);
        let namespace = Self {
            name: format!("rht{}x{started}", std::process::id()),
            host: format!("10.{second}.{third}.1"),
            inside: format!("10.{second}.{third}.2"),
        };
        let (name, outer, inner) = (
            &namespace.name,
            namespace.interface('h'),
            namespace.interface('n'),
        );
        run("ip", &["netns", "add", name]);
        run(
            "ip",
            &[
                "link", "add", &outer, "type", "veth", "peer", "name", &inner,
            ],
        );
        run("ip", &["link", "set", &inner, "netns", name]);
        run(
            "ip",
            &[
                "addr",
                "add",
                &format!("{}/30", namespace.host),
                "dev",
                &outer,
            ],
        );
        run("ip", &["link", "set", &outer, "up"]);
        run("ip", &["-n", name, "link", "set", "lo", "up"]);
        run(
            "ip",
            &[
                "-n",
                name,
                "addr",
                "add",
                &format!("{}/30", namespace.inside),
                "dev",
                &inner,
            ],
        );
        run("ip", &["-n", name, "link", "set", &inner, "up"]);
        run(
            "ip",
            &[
                "-n",
                name,
                "route",
                "add",
                "default",
                "via",
                &namespace.host,
            ],
        );
        namespace
    }

    fn interface(&self, end: char) -> String {
        format!("{}{end}", self.name)
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["link", "del", &self.interface('h')])
            .status();
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// The build engine's memory limit, as cgroup v1 or v2 has it.
pub struct Cgroup(String);

const CGROUPS: &str = "/sys/fs/cgroup";

impl Cgroup {
    pub fn new(name: &str, memory: u64) -> Self {
        let root = Path::new(CGROUPS);
        let (root, file) = if root.join("cgroup.controllers").exists() {
            (root.to_owned(), "memory.max")
        } else {
            (root.join("memory"), "memory.limit_in_bytes")
        };
        let path = root.join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join(file), memory.to_string()).unwrap();
        Self(name.to_owned())
    }
}

impl Drop for Cgroup {
    /// The engine has made the same name below every controller.
    fn drop(&mut self) {
        remove_groups(&Path::new(CGROUPS).join(&self.0));
        for controller in std::fs::read_dir(CGROUPS).into_iter().flatten().flatten() {
            remove_groups(&controller.path().join(&self.0));
        }
    }
}

/// Control groups are removed from the innermost on; their files go by themselves.
fn remove_groups(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(path);
}

/// Whether something listens.
pub fn listens(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}
