//! An upgrade from the last release, under load: its programs beside those of today, on both sides of the
//! node protocol and on one database. Whatever runs with whatever, deployments go through and users are
//! served.

mod migration;

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use api::deployment::{Deployment, DeploymentSource};
use chaos::{history::History, judge::Demands};
use e2e::{
    load::Load,
    platform::{Fixture, Platform},
};

use crate::support::{LIGHT, converged, deployed, judge_all, told};

const CONVERGED_WITHIN: Duration = Duration::from_secs(30);
const STEPS: usize = 4;
const DEMANDS: Demands = Demands {
    requests: 300,
    deployments: 1 + STEPS,
    live: 1 + STEPS,
    kills: 0,
    phases: &[],
};

/// The region whose programs are exchanged; users come through the other one's edge, because an edge that is
/// alone in its region drops its own users while it starts again.
const CHANGING: [&str; 2] = ["us-east-agent", "us-east-edge"];
const SERVING: &str = "eu-west";

const CONTROL_PLANE: &str = "control-plane";
/// What the last release does not know of a control plane's configuration: who goes back to it takes that out.
const UNKNOWN_TO_THE_LAST_RELEASE: [&str; 1] = ["certificates"];

/// Whose programs.
#[derive(Debug, Clone, Copy)]
enum Version {
    LastRelease,
    Today,
}

use Version::{LastRelease, Today};

#[tokio::test]
async fn programs_of_the_last_release_and_of_today_work_together_under_load() -> Result<()> {
    let platform = Platform::alone().await?;
    let mut programs = Programs::of(&platform)?;
    let fixture = deployed(&platform).await?;
    let first = platform.newest_deployment(fixture.service.id).await?;
    let mut deployments = vec![told(&first)];
    let load = Load::start(&[platform.edge(SERVING, &fixture.host)], &LIGHT);
    for (what, exchanged) in steps(&platform)? {
        match change(&platform, &mut programs, &fixture, exchanged).await {
            Ok(deployment) => deployments.push(told(&deployment)),
            Err(problem) => {
                programs.restore(&platform).await?;
                return Err(problem.context(what));
            }
        }
    }
    let history = History {
        deployments,
        requests: load.stop().await.records,
        ..History::default()
    };
    converged(&platform, &fixture, CONVERGED_WITHIN).await?;
    judge_all(&platform, &fixture, &history, DEMANDS).await?;
    platform.delete(&fixture).await
}

type Exchanged = Vec<(String, Version)>;

/// In the order of a downgrade and then of an upgrade: control planes first, node by node after them.
fn steps(platform: &Platform) -> Result<[(&'static str, Exchanged); STEPS]> {
    let control_planes = platform.control_planes();
    let (last, others) = control_planes.split_last().context("no control plane")?;
    let of = |processes: &[String], version| -> Exchanged {
        let all = processes.iter().cloned();
        all.map(|process| (process, version)).collect()
    };
    let nodes = CHANGING.map(str::to_owned);
    Ok([
        ("two versions side by side", of(others, LastRelease)),
        (
            "older control planes, newer nodes",
            of(std::slice::from_ref(last), LastRelease),
        ),
        (
            "newer control planes, older nodes",
            [of(&nodes, LastRelease), of(&control_planes, Today)].concat(),
        ),
        ("all of today", of(&nodes, Today)),
    ])
}

/// Exchanges some, and deploys with what runs then.
async fn change(
    platform: &Platform,
    programs: &mut Programs,
    fixture: &Fixture,
    exchanged: Exchanged,
) -> Result<Deployment> {
    for (process, version) in exchanged {
        programs.exchange(platform, &process, version).await?;
    }
    let source = Some(DeploymentSource::Current);
    let deployment = platform.deploy(fixture.service.id, source).await;
    let deployment = deployment.context("a deployment")?;
    programs.ensure_still_exchanged(platform).await?;
    Ok(deployment)
}

fn forget_what_is_newer(config: &mut toml::Table) {
    for key in UNKNOWN_TO_THE_LAST_RELEASE {
        config.remove(key);
    }
}

/// A folder of programs.
fn last_release() -> Result<PathBuf> {
    let folder = env::var_os("RAILHEAD_LAST_RELEASE");
    let folder = folder
        .context("RAILHEAD_LAST_RELEASE must name a folder of programs: ./dev test sets it")?;
    Ok(folder.into())
}

/// The programs that the platform runs, and those of the last release.
struct Programs {
    running: PathBuf,
    last_release: PathBuf,
    /// Those of today, as they were when the platform came up.
    today: tempfile::TempDir,
    /// What each process was given, as a file's device and number.
    exchanged: BTreeMap<String, (Version, (u64, u64))>,
}

impl Programs {
    fn of(platform: &Platform) -> Result<Self> {
        let programs = Self {
            running: platform.data()?.join("bin"),
            last_release: last_release()?,
            today: tempfile::tempdir()?,
            exchanged: BTreeMap::new(),
        };
        for program in [CONTROL_PLANE, "agent", "edge-proxy"] {
            copy(&programs.running, programs.today.path(), program)?;
        }
        Ok(programs)
    }

    /// Starts a process again, of that version; whoever starts by itself meanwhile is of today again.
    async fn exchange(
        &mut self,
        platform: &Platform,
        process: &str,
        version: Version,
    ) -> Result<()> {
        let program = program_of(process);
        platform.hold(process, true).await?;
        platform.gone(process).await?;
        let from = match version {
            LastRelease => &self.last_release,
            Today => self.today.path(),
        };
        let given = identity(&copy(from, &self.running, program)?)?;
        if program == CONTROL_PLANE {
            self.configure(platform, process, version)?;
        }
        self.exchanged.insert(process.to_owned(), (version, given));
        platform.bring_back(process).await?;
        copy(self.today.path(), &self.running, program).map(drop)
    }

    /// Has a control plane's configuration say no more than its version knows.
    fn configure(&self, platform: &Platform, process: &str, version: Version) -> Result<()> {
        let file = format!("{process}.toml");
        let kept = self.today.path().join(&file);
        let file = platform.data()?.join("secrets").join(file);
        if !kept.exists() {
            fs::copy(&file, &kept)?;
        }
        let mut config = fs::read_to_string(&kept)?;
        if matches!(version, LastRelease) {
            let mut older: toml::Table = config.parse()?;
            forget_what_is_newer(&mut older);
            config = older.to_string();
        }
        fs::write(&file, config).with_context(|| format!("writing {}", file.display()))
    }

    /// Who ended meanwhile was started again by the supervisor, and is of today.
    async fn ensure_still_exchanged(&self, platform: &Platform) -> Result<()> {
        let processes = platform.status_now().await?.processes;
        for (process, (version, given)) in &self.exchanged {
            let found = processes.iter().find(|one| one.name == *process);
            let pid = found
                .and_then(|one| one.pid)
                .with_context(|| format!("{process} is not running"))?;
            let runs = identity(Path::new(&format!("/proc/{pid}/exe")))?;
            ensure!(
                runs == *given,
                "an invalid run: {process} no longer runs the program of {version:?} that it was started with"
            );
        }
        Ok(())
    }

    /// After a failure: other tests go on with these processes.
    async fn restore(&mut self, platform: &Platform) -> Result<()> {
        let changed: Vec<_> = self.exchanged.keys().cloned().collect();
        for process in changed {
            self.exchange(platform, &process, Today).await?;
        }
        Ok(())
    }
}

fn program_of(process: &str) -> &'static str {
    match process {
        "us-east-agent" => "agent",
        "us-east-edge" => "edge-proxy",
        _ => CONTROL_PLANE,
    }
}

/// By renaming: what runs keeps its own file.
fn copy(from: &Path, to: &Path, program: &str) -> Result<PathBuf> {
    let (draft, copied) = (to.join(format!("{program}.new")), to.join(program));
    fs::copy(from.join(program), &draft)
        .and_then(|_| fs::rename(&draft, &copied))
        .with_context(|| format!("copying {program} to {}", to.display()))?;
    Ok(copied)
}

/// Which file that is, by whatever name.
fn identity(file: &Path) -> Result<(u64, u64)> {
    let found = fs::metadata(file).with_context(|| format!("looking at {}", file.display()))?;
    Ok((found.dev(), found.ino()))
}
