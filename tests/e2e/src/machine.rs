//! One more machine: systemd as process 1 in namespaces of its own (`tests/e2e/machine/start`), connected to the
//! platform's router. What it writes is gone with it, and so is it when the test ends in whatever way.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::process::{Child, Command};

use crate::{
    command::{run, succeed},
    fault::{Rule, Rules},
    platform::Platform,
    wait,
};

const BOOTS_WITHIN: Duration = Duration::from_secs(30);
/// The third byte of the machine's network; regions have 1 and 2.
const NETWORK: u8 = 3;

/// A machine that runs.
pub struct Machine {
    /// Where other machines reach it.
    pub address: IpAddr,
    /// systemd, as this machine counts.
    pid: i32,
    name: String,
    process: Child,
    folder: tempfile::TempDir,
    _rules: Rules,
}

impl Machine {
    /// Boots one and connects it. Its programs of the release are in [`Machine::BINARIES`].
    pub async fn boot(platform: &Platform, name: &str) -> Result<Self> {
        remove_cgroups(name)?;
        let folder = tempfile::tempdir()?;
        let [a, b, ..] = octets(platform)?;
        let mut start = Command::new("setpriv");
        start
            .args(["--pdeathsig", "KILL", "--"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/machine/start"))
            .arg(name)
            .arg(folder.path())
            .arg(platform.data()?.join("bin"))
            .arg(format!("{a}.{b}.250.3"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let process = start.spawn().context("starting the machine")?;
        let launcher = process.id().context("the machine has ended at once")?;
        let pid = wait::outcome(BOOTS_WITHIN, || async { only_child(launcher) }).await?;
        let network = format!("{a}.{b}.{NETWORK}.0/24");
        let machine = Self {
            address: format!("{a}.{b}.{NETWORK}.2").parse()?,
            pid,
            name: name.to_owned(),
            process,
            folder,
            _rules: Rules::set(
                &platform.status.router_netns,
                &["-s", "-d"]
                    .map(|way| Rule::filter("FORWARD", format!("{way} {network} -j ACCEPT"))),
            )?,
        };
        machine.connect(&platform.status.router_netns).await?;
        machine.booted().await?;
        Ok(machine)
    }

    /// The folder with agent, edge-proxy and railhead.
    pub const BINARIES: &str = "/opt/railhead";

    /// A program on the machine, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.pid))
            .args([
                "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--",
            ])
            .arg(program)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/nonexistent")
            .kill_on_drop(true);
        command
    }

    /// The machine's `railhead`.
    pub fn railhead(&self) -> Command {
        self.command(&format!("{}/railhead", Self::BINARIES))
    }

    /// Cuts it off from everybody, its users too, as long as what this gives is there.
    pub fn cut_off(&self, platform: &Platform) -> Result<Rules> {
        let drop = |way| Rule::filter("FORWARD", format!("{way} {} -j DROP", self.address));
        Rules::set(&platform.status.router_netns, &["-s", "-d"].map(drop))
    }

    /// Where its workloads' engine is asked, past everything else.
    #[must_use]
    pub fn engine_socket(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.pid);
        Path::new(&root).join("run/railhead/engine.sock")
    }

    /// What a property of a unit is.
    pub async fn property(&self, unit: &str, property: &str) -> Result<String> {
        let mut show = self.command("systemctl");
        show.args(["show", "--value", "--property", property, unit]);
        Ok(succeed(&mut show).await?.stdout.trim().to_owned())
    }

    /// The end of its journal, for a test that fails.
    pub async fn journal(&self) -> String {
        let mut journal = self.command("journalctl");
        journal.args([
            "--no-pager",
            "--lines=80",
            "--output=cat",
            "-u",
            "railhead*",
        ]);
        run(&mut journal)
            .await
            .map_or_else(|error| error.to_string(), |said| said.stdout)
    }

    /// A cable to the router, and a default route over it.
    async fn connect(&self, router: &str) -> Result<()> {
        let gateway = match self.address {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                format!("{a}.{b}.{c}.1")
            }
            IpAddr::V6(_) => anyhow::bail!("the platform's network is IPv4"),
        };
        let (pid, address) = (self.pid.to_string(), format!("{}/24", self.address));
        let at_router = format!("{gateway}/24");
        for arguments in [
            vec![
                "-n", router, "link", "add", &self.name, "type", "veth", "peer", "name", "eth0",
                "netns", &pid,
            ],
            vec![
                "-n", router, "address", "add", &at_router, "dev", &self.name,
            ],
            vec!["-n", router, "link", "set", &self.name, "up"],
        ] {
            succeed(Command::new("ip").args(arguments)).await?;
        }
        for arguments in [
            vec!["link", "set", "lo", "up"],
            vec!["address", "add", &address, "dev", "eth0"],
            vec!["link", "set", "eth0", "up"],
            vec!["route", "add", "default", "via", &gateway],
        ] {
            let mut inside = Command::new("nsenter");
            inside
                .args([&format!("--target={pid}"), "--net", "--", "ip"])
                .args(arguments);
            succeed(&mut inside).await?;
        }
        Ok(())
    }

    async fn booted(&self) -> Result<()> {
        wait::outcome(BOOTS_WITHIN, || async {
            let said = run(self.command("systemctl").arg("is-system-running")).await?;
            let state = said.stdout.trim();
            ensure!(
                ["running", "degraded"].contains(&state),
                "it is {state}: {}",
                said.stderr
            );
            Ok(())
        })
        .await
        .context("the machine does not boot")
    }
}

impl Drop for Machine {
    #[expect(
        clippy::print_stderr,
        reason = "the test has ended: nobody else could be told"
    )]
    fn drop(&mut self) {
        // Everything in it dies with its process 1.
        let _ = self.process.start_kill();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while let Err(error) = remove_cgroups(&self.name) {
            if std::time::Instant::now() > deadline {
                eprintln!(
                    "removing {} in {}: {error:#}",
                    self.name,
                    self.folder.path().display()
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn octets(platform: &Platform) -> Result<[u8; 4]> {
    let host: std::net::Ipv4Addr = platform.host_address().parse()?;
    Ok(host.octets())
}

/// `unshare` stays, and its child is the machine's process 1.
fn only_child(launcher: u32) -> Result<i32> {
    let path = format!("/proc/{launcher}/task/{launcher}/children");
    let children = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let child: i32 = children
        .trim()
        .parse()
        .context("the machine has no process 1 yet")?;
    let name = fs::read_to_string(format!("/proc/{child}/comm"))?;
    ensure!(name.trim() == "systemd", "process 1 is {name} still");
    Ok(child)
}

/// Removes the machine's cgroups from every tree; they must be empty.
fn remove_cgroups(name: &str) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mount table")?;
    let trees = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let target = words.next()?;
        words
            .next()?
            .starts_with("cgroup")
            .then(|| PathBuf::from(target))
    });
    trees
        .map(|tree| tree.join(name))
        .try_for_each(|top| remove_tree(&top))
}

fn remove_tree(top: &Path) -> Result<()> {
    if !top.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(top)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(top).with_context(|| format!("removing {}", top.display()))
}
