//! Builds whose engine or registry can't write, one at each engine: they wait, and go on when it is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use api::deployment::{Deployment, DeploymentState};
use chaos::postgres::Server;
use domain::id::DeploymentId;
use e2e::{
    platform::{Fixture, Platform},
    wait,
};
use futures::future::try_join_all;
use serde_json::json;

use super::{
    changes::{Told, ask},
    disk::Trouble,
    fault::{Fault, REGISTRY},
    log::Tail,
};
use crate::support::{REGIONS, small};

const PLACED_WITHIN: Duration = Duration::from_secs(20);
/// Sooner than a build loses its patience.
const SHOWN_WITHIN: Duration = Duration::from_secs(45);
/// What the log of a build says when its engine can't write.
const WAITS: &str = "build_engine_failed: trying again";
/// What it says before it pushes.
const PUSHES: &str = "Pushing ";
/// What the registry says of a push. The engine tries that again by itself, for 50 s, before its build is told.
const CAN_NOT_WRITE: [&str; 2] = ["no space left on device", "read-only file system"];

/// One for each engine: services that were never built, so whatever is pushed of them is new to the registry.
pub async fn newcomers(platform: &Platform) -> Result<Vec<Fixture>> {
    try_join_all(REGIONS.map(|region| async move {
        let mut spec = small(platform);
        spec["scale"]["regions"] = json!({ region: 1 });
        platform.fixture("newcomer", spec).await
    }))
    .await
}

/// A build that was begun.
pub struct Build {
    pub deployment: Deployment,
    /// Whose engine has it.
    region: String,
}

/// Has them built, each at another engine: an agent gets a build when no other has fewer, and the first can't end
/// before the second is given away.
pub async fn begin(
    platform: &Platform,
    newcomers: &[Fixture],
    told: &mut Told,
) -> Result<Vec<Build>> {
    let mut builds = Vec::new();
    for newcomer in newcomers {
        let deployment = ask(platform, newcomer, told, None).await?;
        let region = placed(platform, deployment.id).await?;
        builds.push(Build { deployment, region });
    }
    let regions: BTreeSet<_> = builds.iter().map(|build| &build.region).collect();
    ensure!(
        regions.len() == builds.len(),
        "an invalid run: of {} builds all are at the engines of {regions:?}",
        builds.len()
    );
    Ok(builds)
}

/// The region whose engine gets it. The API does not tell before the build says something.
async fn placed(platform: &Platform, deployment: DeploymentId) -> Result<String> {
    let database = Server::of(platform)?;
    let region = format!(
        "select r.name from build b join node n on n.id = b.node_id join region r on r.id = n.region_id
         where b.deployment_id = '{}'",
        deployment.uuid()
    );
    wait::outcome(PLACED_WITHIN, || async {
        let region = database.sql(&region).await?;
        ensure!(!region.is_empty(), "no agent has the build of {deployment}");
        Ok(region)
    })
    .await
}

/// Until each of the faults was seen to be in a build's way.
pub async fn suffer(
    platform: &Platform,
    builds: &[Build],
    faults: &[Fault],
    registry: &Tail,
) -> Result<()> {
    wait::outcome(SHOWN_WITHIN, || async {
        let said = Said::now(platform, builds, registry).await?;
        faults
            .iter()
            .try_for_each(|fault| said.shows(*fault))
            .context("an invalid run")
    })
    .await
}

/// None has come to its end as long as nobody could write what it makes.
pub async fn still_go_on(platform: &Platform, builds: &[Build]) -> Result<()> {
    for build in builds {
        let now = platform.deployment(&build.deployment).await?;
        ensure!(
            now.state == DeploymentState::Building,
            "what is built at {} is {:?} too early: {:?}",
            build.region,
            now.state,
            now.error
        );
    }
    Ok(())
}

/// What was said of builds.
#[derive(Debug, Default)]
struct Said {
    /// Their logs, by the region whose engine has the build.
    builds: BTreeMap<String, String>,
    registry: String,
}

impl Said {
    async fn now(platform: &Platform, builds: &[Build], registry: &Tail) -> Result<Self> {
        let mut said = Self {
            registry: registry.text()?,
            ..Self::default()
        };
        for build in builds {
            let log = platform.build_log(&build.deployment).await?;
            said.builds.insert(build.region.clone(), log);
        }
        Ok(said)
    }

    /// Insists that this was in a build's way. Who hangs says nothing, and whoever waits for it neither.
    fn shows(&self, fault: Fault) -> Result<()> {
        let Fault::Disk(process, trouble) = fault else {
            return Ok(());
        };
        if process == REGISTRY {
            let mut logs = self.builds.values();
            ensure!(
                logs.any(|log| log.contains(PUSHES)),
                "no build has come to its push"
            );
            let refuses = |words: &&str| self.registry.contains(*words);
            ensure!(
                trouble == Trouble::Hung || CAN_NOT_WRITE.iter().any(refuses),
                "the registry has refused nothing"
            );
        }
        if let Some(region) = process.strip_suffix("-build-engine") {
            let log = self.builds.get(region);
            let log = log.with_context(|| format!("nothing is built at {region}"))?;
            ensure!(
                trouble == Trouble::Hung || log.contains(WAITS),
                "what is built at {region} did not have to wait"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fault::ROUNDS, *};

    /// What is said when each of these is in a build's way.
    fn said(faults: &[Fault]) -> Said {
        let mut said = Said {
            builds: REGIONS
                .map(|region| (region.to_owned(), String::new()))
                .into(),
            ..Said::default()
        };
        for fault in faults {
            let Fault::Disk(process, trouble) = fault else {
                continue;
            };
            if *process == REGISTRY {
                said.builds
                    .insert(REGIONS[0].to_owned(), "Pushing x:1".to_owned());
                said.registry = match trouble {
                    Trouble::Full => "mkdir /x: no space left on device".to_owned(),
                    Trouble::ReadOnly => "mkdir /x: read-only file system".to_owned(),
                    Trouble::Hung => String::new(),
                };
            } else if let Some(region) = process.strip_suffix("-build-engine")
                && *trouble != Trouble::Hung
            {
                let log = "build_engine_failed: trying again in 250.0ms".to_owned();
                said.builds.insert(region.to_owned(), log);
            }
        }
        said
    }

    #[test]
    fn every_round_can_be_seen_to_be_in_the_way_of_builds() {
        for faults in ROUNDS {
            let said = said(faults);
            for fault in faults {
                assert!(said.shows(*fault).is_ok(), "{fault:?} of {faults:?}");
            }
        }
    }

    #[test]
    fn what_nothing_is_said_of_was_not_seen() {
        let quiet = said(&[]);
        let seen = |process, trouble| quiet.shows(Fault::Disk(process, trouble)).is_ok();
        for trouble in [Trouble::Full, Trouble::ReadOnly] {
            assert!(!seen("us-east-build-engine", trouble));
            assert!(!seen(REGISTRY, trouble));
        }
        assert!(!seen(REGISTRY, Trouble::Hung), "nothing was pushed");
        assert!(seen("us-east-build-engine", Trouble::Hung));
        let elsewhere = Said::default();
        let hung = Fault::Disk("us-east-build-engine", Trouble::Hung);
        assert!(elsewhere.shows(hung).is_err(), "nothing is built there");
    }
}
