//! `./dev up` twice, `./dev down`, `./dev up` again, on a second platform beside the one under test: the same
//! data, nothing left behind, nothing foreign touched.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    command::succeed,
    platform::{Status, Turn, dev},
};
use tokio::process::Command;

/// A platform of this test alone; what is left of it goes with the test.
struct Second {
    dir: tempfile::TempDir,
}

impl Second {
    fn new() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir().context("making a folder")?,
        })
    }

    fn dev(&self) -> Command {
        let mut dev = dev();
        dev.env("RAILHEAD_DEV_DIR", self.path())
            .env_remove("RAILHEAD_DEV_OTLP");
        dev
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("platform")
    }

    async fn up(&self) -> Result<Status> {
        succeed(self.dev().args(["up", "--no-build"])).await?;
        let said = succeed(self.dev().args(["status", "--json"])).await?;
        serde_json::from_str(&said.stdout).context("reading ./dev status --json")
    }

    async fn down(&self, arguments: &[&str]) -> Result<()> {
        succeed(self.dev().arg("down").args(arguments))
            .await
            .map(drop)
    }

    /// What the example says of itself through the first edge.
    async fn example(&self, status: &Status) -> Result<serde_json::Value> {
        let (_, edge) = status.edges.first_key_value().context("no edge")?;
        let host = &status.example_host;
        let said = succeed(
            Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--fail",
                    "--max-time",
                    "10",
                    "--cacert",
                ])
                .arg(&status.ca_file)
                .args(["--resolve", &format!("{host}:443:{}", edge.ip())])
                .arg(format!("https://{host}/")),
        )
        .await?;
        Ok(serde_json::from_str(&said.stdout)?)
    }
}

/// Also when the test fails: its processes must not outlive it.
impl Drop for Second {
    #[expect(
        clippy::print_stderr,
        reason = "the test has ended: nobody else could be told"
    )]
    fn drop(&mut self) {
        let program = dev().as_std().get_program().to_owned();
        let ended = std::process::Command::new(program)
            .arg("down")
            .env("RAILHEAD_DEV_DIR", self.path())
            .output();
        if let Err(error) = ended {
            eprintln!("ending the second platform: {error}");
        }
    }
}

/// What of the machine a platform could leave behind or change.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    namespaces: Vec<String>,
    interfaces: Vec<String>,
    routes: Vec<String>,
    rules: Vec<String>,
    mounts: Vec<String>,
    cgroups: Vec<String>,
    slots: Vec<String>,
    forwarding: String,
}

impl Machine {
    async fn now() -> Result<Self> {
        Ok(Self {
            namespaces: lines(Command::new("ip").args(["netns", "list"]), first_word).await?,
            interfaces: lines(Command::new("ip").args(["-o", "link"]), |line| {
                second_word(line)
            })
            .await?,
            routes: lines(Command::new("ip").args(["route"]), str::to_owned).await?,
            rules: lines(&mut Command::new("iptables-save"), without_counters).await?,
            mounts: mounts()?,
            cgroups: folders(Path::new("/sys/fs/cgroup/pids"))
                .or_else(|_| folders(Path::new("/sys/fs/cgroup")))?,
            slots: folders(Path::new("/run/railhead"))?,
            forwarding: fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?,
        })
    }
}

#[tokio::test]
async fn up_down_and_up_again_keeps_the_data_and_leaves_nothing_behind() -> Result<()> {
    let _nobody_else = Turn::of_all().await?;
    let before = Machine::now().await?;
    let second = Second::new()?;

    let first = second.up().await?;
    let deployment = second.example(&first).await?["deployment"].clone();
    let token = fs::read_to_string(&first.admin_token_file)?;

    let again = second.up().await?;
    assert_eq!(pids(&again), pids(&first), "a second up changes nothing");

    second.down(&[]).await?;
    settled(&before).await?;

    let back = second.up().await?;
    assert_eq!(
        second.example(&back).await?["deployment"],
        deployment,
        "the same deployment"
    );
    assert_eq!(
        fs::read_to_string(&back.admin_token_file)?,
        token,
        "the same token"
    );
    assert_eq!(back.api, first.api, "the same addresses");

    second.down(&["--wipe"]).await?;
    settled(&before).await?;
    ensure!(!second.path().exists(), "--wipe removes the data");
    Ok(())
}

#[tokio::test]
async fn a_reader_of_the_status_may_leave_early() -> Result<()> {
    let platform = Turn::beside_others().await?;
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["logs", "supervisor"],
    ] {
        let mut dev = platform.dev();
        dev.args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = dev.spawn()?;
        drop(running.stdout.take());
        let ended = running.wait_with_output().await?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(said.is_empty(), "{arguments:?}: {said}");
    }
    Ok(())
}

/// The kernel tears namespaces down in its own time.
async fn settled(before: &Machine) -> Result<()> {
    e2e::wait::until("the machine as it was", Duration::from_secs(10), || async {
        let now = Machine::now().await?;
        ensure!(now == *before, "was {before:#?}\nis {now:#?}");
        Ok(())
    })
    .await;
    Ok(())
}

fn pids(status: &Status) -> BTreeMap<&str, Option<i32>> {
    status
        .processes
        .iter()
        .map(|process| (process.name.as_str(), process.pid))
        .collect()
}

async fn lines(command: &mut Command, keep: fn(&str) -> String) -> Result<Vec<String>> {
    let said = succeed(command).await?;
    let mut lines: Vec<_> = said
        .stdout
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(keep)
        .collect();
    lines.sort();
    Ok(lines)
}

fn first_word(line: &str) -> String {
    line.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn second_word(line: &str) -> String {
    line.split_whitespace()
        .nth(1)
        .unwrap_or_default()
        .to_owned()
}

/// `[12:345]`: packets pass while we look.
fn without_counters(line: &str) -> String {
    line.split('[').next().unwrap_or_default().to_owned()
}

/// Where things are mounted, less what other engines mount for their containers.
fn mounts() -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut targets: Vec<_> = table
        .lines()
        .map(|line| line.split(' ').nth(4).unwrap_or_default().to_owned())
        .collect();
    targets.retain(|target| !target.contains("/docker/") && !target.contains("-exec/"));
    targets.sort();
    Ok(targets)
}

fn folders(parent: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(parent).with_context(|| format!("reading {}", parent.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
