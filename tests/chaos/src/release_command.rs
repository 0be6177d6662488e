//! A release command under kills: it lasts, so that kills meet it, and each run says a word of its own, so that runs
//! can be counted. Whatever is killed, a deployment has one container for it, and that runs once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use api::log::LogRecord;
use domain::{
    deployment::machine::Step,
    id::{DeploymentId, ServiceId},
};
use e2e::platform::Platform;
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, types::Uuid};

use crate::{observe, world::World};

/// How the line of a run begins; its word follows.
const SAYS: &str = "release-command-";
const LINES_MAX: u32 = 10_000;

/// What is to be seen of one deployment's command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Containers that were planned for it.
    pub placed: usize,
    /// What its runs have said.
    pub words: BTreeSet<String>,
}

/// By deployment of one service.
pub type Commands = BTreeMap<DeploymentId, Seen>;

/// For `deploy.pre_deploy_command`; the image has Python.
pub fn command() -> Value {
    let program =
        format!("import time, uuid; print('{SAYS}' + uuid.uuid4().hex, flush=True); time.sleep(3)");
    json!(["python3", "-c", program])
}

/// What is to be seen of the commands of a service, none of whose deployments is a rollback: those run none.
pub async fn seen(platform: &Platform, service: ServiceId, world: &World) -> Result<Commands> {
    let deployments = world.deployments.iter();
    let of_service = deployments.filter(|one| one.service == service);
    let mut commands: Commands = of_service.map(|one| (one.id, Seen::default())).collect();
    for (deployment, placed) in placed(platform, service).await? {
        commands.entry(deployment).or_default().placed = placed;
    }
    for (deployment, word) in words(platform, service).await? {
        commands.entry(deployment).or_default().words.insert(word);
    }
    Ok(commands)
}

async fn placed(platform: &Platform, service: ServiceId) -> Result<Vec<(DeploymentId, usize)>> {
    let mut connection = PgConnection::connect(&observe::database_url(platform)?)
        .await
        .context("connecting to PostgreSQL")?;
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "select deployment_id, count(*) from instance
         where service_id = $1 and purpose = 'release_command' group by deployment_id",
    )
    .bind(service.uuid())
    .fetch_all(&mut connection)
    .await?;
    let rows = rows.into_iter();
    rows.map(|(deployment, placed)| Ok((deployment.into(), usize::try_from(placed)?)))
        .collect()
}

/// A line that was sent twice is the same word.
async fn words(platform: &Platform, service: ServiceId) -> Result<Vec<(DeploymentId, String)>> {
    let path = format!("/v1/services/{service}/logs?filter={SAYS}&limit={LINES_MAX}");
    let lines: Vec<LogRecord> = platform.client.ndjson(&path).await?.try_collect().await?;
    let lines = lines.into_iter().filter_map(|record| match record {
        LogRecord::Line(line) => Some((line.deployment_id?, line.text)),
        LogRecord::Gap { .. } | LogRecord::Idle => None,
    });
    Ok(lines.collect())
}

/// How many have been seen to run once.
pub fn ran(commands: &Commands) -> usize {
    let all = commands.values();
    all.filter(|seen| seen.words.len() == 1).count()
}

/// Deployments whose command ran more than once, or not at all although they have gone on: what is wrong, in words.
/// A line may be lost with its engine: that a command has said nothing shows nothing.
pub fn wrong(commands: &Commands, world: &World) -> Vec<String> {
    let all = world.deployments.iter().filter_map(|deployment| {
        let seen = commands.get(&deployment.id)?;
        let mut steps = deployment.steps.iter();
        let has_gone_on = steps.any(|(step, _)| *step == Step::Placing);
        let is_once = seen.placed <= 1 && seen.words.len() <= 1;
        let is_missing = has_gone_on && seen.placed == 0;
        (!is_once || is_missing).then(|| {
            format!(
                "the release command of {} was placed {} times and has run {} times",
                deployment.id,
                seen.placed,
                seen.words.len()
            )
        })
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::world::Deployment;

    fn deployment(steps: &[Step]) -> Deployment {
        Deployment {
            id: DeploymentId::new(),
            service: ServiceId::new(),
            reason: "redeploy".to_owned(),
            state: steps[steps.len() - 1],
            steps: steps
                .iter()
                .map(|step| (*step, DateTime::UNIX_EPOCH))
                .collect(),
            told: Vec::new(),
            problem: None,
        }
    }

    fn world(deployment: Deployment) -> World {
        World {
            deployments: vec![deployment],
            ..World::default()
        }
    }

    fn seen(placed: usize, words: &[&str]) -> Seen {
        Seen {
            placed,
            words: words.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_command_that_ran_twice_is_seen_and_one_that_was_left_out_too() {
        let live = deployment(&[Step::Queued, Step::Releasing, Step::Placing, Step::Live]);
        let id = live.id;
        let live = world(live);
        for (of_it, is_right) in [
            (seen(1, &["a"]), true),
            (seen(1, &[]), true),
            (seen(1, &["a", "b"]), false),
            (seen(2, &["a"]), false),
            (seen(0, &[]), false),
        ] {
            let commands = Commands::from([(id, of_it)]);
            let wrong = wrong(&commands, &live);
            assert_eq!(wrong.is_empty(), is_right, "{commands:?}: {wrong:?}");
        }
    }

    #[test]
    fn a_deployment_that_ended_before_has_run_none() {
        let canceled = deployment(&[Step::Queued, Step::Releasing, Step::Canceled]);
        let commands = Commands::from([(canceled.id, Seen::default())]);
        assert_eq!(wrong(&commands, &world(canceled)), Vec::<String>::new());
        assert_eq!(ran(&commands), 0);
    }
}
