//! An upgrade from the last release, under load: its programs beside those of today, on both sides of the
//! node protocol and on one database. Whatever runs with whatever, deployments go through and users are
//! served.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use api::deployment::DeploymentSource;
use e2e::{
    load::Load,
    platform::{CONTROL_PLANES, Fixture, Platform},
};

use crate::support::{LIGHT, converged, deployed};

const CONVERGED_WITHIN: Duration = Duration::from_secs(30);
const REQUESTS_AT_LEAST: usize = 300;

/// The region whose programs are exchanged; users come through the other one's edge, because an edge that is
/// alone in its region drops its own users while it starts again.
const CHANGING: [(&str, &str); 2] = [("us-east-agent", "agent"), ("us-east-edge", "edge-proxy")];
const SERVING: &str = "eu-west";

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
    let programs = Programs::of(&platform)?;
    let fixture = deployed(&platform).await?;
    let load = Load::start(&[platform.edge(SERVING, &fixture.host)], &LIGHT);
    if let Err(problem) = mix(&platform, &programs, &fixture).await {
        programs.restore(&platform).await?;
        return Err(problem);
    }
    let summary = load.stop().await;
    summary.assert_none_failed(REQUESTS_AT_LEAST);
    converged(&platform, &fixture, CONVERGED_WITHIN).await?;
    platform.delete(&fixture).await
}

/// In the order of a downgrade and then of an upgrade: control planes first, node by node after them.
async fn mix(platform: &Platform, programs: &Programs, fixture: &Fixture) -> Result<()> {
    let [first, second] = CONTROL_PLANES;
    let steps: [(&str, Vec<(&str, Version)>); 4] = [
        ("two versions side by side", vec![(first, LastRelease)]),
        (
            "older control planes, newer nodes",
            vec![(second, LastRelease)],
        ),
        (
            "newer control planes, older nodes",
            vec![
                (CHANGING[0].0, LastRelease),
                (CHANGING[1].0, LastRelease),
                (first, Today),
                (second, Today),
            ],
        ),
        (
            "all of today",
            vec![(CHANGING[0].0, Today), (CHANGING[1].0, Today)],
        ),
    ];
    for (what, exchanged) in steps {
        for (process, version) in exchanged {
            programs.exchange(platform, process, version).await?;
        }
        let source = Some(DeploymentSource::Current);
        platform
            .deploy(fixture.service.id, source)
            .await
            .with_context(|| format!("{what}: a deployment"))?;
    }
    Ok(())
}

/// The programs that the platform runs, and those of the last release.
struct Programs {
    running: PathBuf,
    last_release: PathBuf,
    /// Those of today, as they were when the platform came up.
    today: tempfile::TempDir,
}

impl Programs {
    fn of(platform: &Platform) -> Result<Self> {
        let last_release = env::var_os("RAILHEAD_LAST_RELEASE")
            .context("RAILHEAD_LAST_RELEASE must name a folder of programs: ./dev test sets it")?;
        let programs = Self {
            running: platform.data()?.join("bin"),
            last_release: last_release.into(),
            today: tempfile::tempdir()?,
        };
        for program in ["control-plane", "agent", "edge-proxy"] {
            copy(&programs.running, programs.today.path(), program)?;
        }
        Ok(programs)
    }

    /// Starts a process again, of that version; whoever starts by itself meanwhile is of today again.
    async fn exchange(&self, platform: &Platform, process: &str, version: Version) -> Result<()> {
        let program = program_of(process);
        platform.hold(process, true).await?;
        let from = match version {
            LastRelease => &self.last_release,
            Today => self.today.path(),
        };
        copy(from, &self.running, program)?;
        platform.bring_back(process).await?;
        copy(self.today.path(), &self.running, program)
    }

    /// After a failure: other tests go on with these processes.
    async fn restore(&self, platform: &Platform) -> Result<()> {
        for process in CONTROL_PLANES
            .into_iter()
            .chain(CHANGING.map(|(name, _)| name))
        {
            self.exchange(platform, process, Today).await?;
        }
        Ok(())
    }
}

fn program_of(process: &str) -> &'static str {
    let changing = CHANGING.iter().find(|(name, _)| *name == process);
    changing.map_or("control-plane", |(_, program)| program)
}

/// By renaming: what runs keeps its own file.
fn copy(from: &Path, to: &Path, program: &str) -> Result<()> {
    let draft = to.join(format!("{program}.new"));
    fs::copy(from.join(program), &draft)
        .and_then(|_| fs::rename(&draft, to.join(program)))
        .with_context(|| format!("copying {program} to {}", to.display()))
}
