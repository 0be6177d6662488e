//! The release command: one container of the new image, once, before anything is placed.

use std::collections::BTreeMap;

use domain::{
    deployment::{
        Source,
        cause::Cause,
        machine::{Failure, Outcome, Step},
    },
    instance::State,
    spec::Strategy,
};
use protocol::feed::FeedName;
use scheduler::{Evaluation, Goal, Snapshot};

use crate::{
    feed::{instance, route::Changes},
    reconcile::evaluations::needs,
    store::{
        Error,
        deployment::{self, Deployment, Instance},
        feed::{self, Change},
        placement::{self, Purpose, Release, Service},
        route,
        tx::SystemTx,
    },
};

/// A rollback brings back what has run before: its command has run then.
fn is_wanted(deployment: &Deployment) -> bool {
    deployment.spec.deploy.pre_deploy_command.is_some()
        && !matches!(deployment.source, Source::Release { .. })
}

/// Places the command's container if it is time for it and there is none; whether it did.
pub(super) async fn ensure(
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<bool, Error> {
    let over = deployment.cancel_requested || deployment.newer_waits || service.deleted;
    if deployment.state.step != Step::Releasing || !is_wanted(deployment) || over {
        return Ok(false);
    }
    let Some(release) = placement::release_of(tx, deployment.id).await? else {
        return Ok(false);
    };
    if container(tx, deployment).await?.is_some() {
        return Ok(false);
    }
    place(tx, service, &release).await
}

async fn place(tx: &mut SystemTx, service: &Service, release: &Release) -> Result<bool, Error> {
    let replicas = placement::replicas(tx, &service.spec).await?;
    let Some((region, _)) = replicas.into_iter().find(|(_, replicas)| *replicas > 0) else {
        return Ok(false);
    };
    let snapshot = Snapshot {
        nodes: placement::nodes(tx).await?,
        instances: Vec::new(),
    };
    let goal = Goal {
        deployment_id: release.deployment,
        release_id: release.id,
        replicas: BTreeMap::from([(region, 1)]),
        resources: needs(release),
        strategy: Strategy::Rolling,
    };
    let question = Evaluation {
        service_id: service.id,
        goals: vec![goal],
    };
    let plan = scheduler::plan(&snapshot, &question);
    let Some(placement) = plan.placements.first() else {
        return Ok(false);
    };
    let placed = placement::place(tx, service, placement, Purpose::ReleaseCommand).await?;
    let Some(id) = placed else {
        return Ok(false);
    };
    let domain = route::hostnames(tx, service).await?.into_iter().next();
    let item = instance::command(service, release, id, &placement.region, domain.as_deref());
    let (item, secrets) = instance::render(item)?;
    let id = instance::item_id(id);
    let change = Change::Put { id, item, secrets };
    let changes = Changes::from([(FeedName::Node(placement.node_id), vec![change])]);
    feed::write(tx, changes).await?;
    Ok(true)
}

async fn container(tx: &mut SystemTx, deployment: &Deployment) -> Result<Option<Instance>, Error> {
    let all = deployment::instances(tx, deployment.id).await?;
    Ok(all.into_iter().find(|instance| instance.command))
}

/// How far the release is.
pub(super) async fn outcome(tx: &mut SystemTx, deployment: &Deployment) -> Result<Outcome, Error> {
    if deployment.release.is_none() {
        return Ok(Outcome::Pending);
    }
    if !is_wanted(deployment) {
        return Ok(Outcome::Succeeded);
    }
    Ok(container(tx, deployment)
        .await?
        .map_or(Outcome::Pending, |container| judge(&container)))
}

fn judge(container: &Instance) -> Outcome {
    if container.state != State::Stopped {
        return Outcome::Pending;
    }
    match (container.exit_code, &container.problem) {
        (Some(0), _) => Outcome::Succeeded,
        // Nobody knows how it ended: that is no failure of the command.
        (None, Some(problem)) if Cause::of(problem) == Cause::Platform => {
            Outcome::Failed(Failure::new(
                &problem.code,
                format!(
                    "nobody knows how the release command ended: {}; its output is in the logs of {}",
                    problem.message, container.id
                ),
            ))
        }
        (_, Some(problem)) => Outcome::Failed(Failure::new(
            "release_command_failed",
            format!(
                "the release command failed: {}; its output is in the logs of {}",
                problem.message, container.id
            ),
        )),
        (code, None) => Outcome::Failed(Failure::new(
            "release_command_failed",
            format!(
                "the release command ended with {}; its output is in the logs of {}",
                code.map_or_else(
                    || "no exit code".to_owned(),
                    |code| format!("exit code {code}")
                ),
                container.id
            ),
        )),
    }
}

/// Lets the container go.
pub(super) async fn end(tx: &mut SystemTx, deployment: &Deployment) -> Result<(), Error> {
    if let Some(container) = container(tx, deployment).await? {
        placement::stop(tx, container.id, "finished").await?;
    }
    Ok(())
}
