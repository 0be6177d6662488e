//! Loads what is to be seen of a deployment; [`super::decide`] judges it.

use domain::{
    deployment::{acknowledgement::Follower, machine::Step},
    quantity::Span,
};

use super::{
    decide::{Edges, Progress, Seen, View},
    draining::Older,
    release_command,
};
use crate::store::{
    Error,
    deployment::{self, Deployment},
    evaluation,
    placement::{self, Service},
    route,
    tx::SystemTx,
};

/// What its step is judged by.
pub(super) async fn load<'a>(
    tx: &mut SystemTx,
    service: &Service,
    deployment: &'a Deployment,
) -> Result<View<'a>, Error> {
    let seen = match deployment.state.step {
        Step::Building => Seen::Build(deployment::build(tx, deployment.id).await?),
        Step::Releasing => Seen::Release(release_command::outcome(tx, deployment).await?),
        Step::Placing | Step::Starting | Step::Verifying => {
            Seen::Instances(progress(tx, service, deployment).await?)
        }
        Step::Shifting => Seen::Edges(Edges {
            followers: followers(tx, deployment).await?,
            old_draining: old_draining(tx, service).await?,
        }),
        Step::Draining => Seen::Older(Older {
            instances: deployment::older_instances(tx, deployment).await?,
            edges: followers(tx, deployment).await?,
        }),
        _ => Seen::Row,
    };
    Ok(View {
        deployment,
        service_deleted: service.deleted,
        seen,
    })
}

async fn followers(tx: &mut SystemTx, deployment: &Deployment) -> Result<Vec<Follower>, Error> {
    let positions = deployment.shift_positions.clone().unwrap_or_default();
    route::followers(tx, &positions).await
}

/// As the release says that serves until now.
async fn old_draining(tx: &mut SystemTx, service: &Service) -> Result<Span, Error> {
    let release = match service.current {
        Some(current) => placement::release_of(tx, current).await?,
        None => None,
    };
    Ok(release.map_or(Span::seconds(0), |release| release.spec.deploy.draining))
}

async fn progress(
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<Progress, Error> {
    let release = placement::release_of(tx, deployment.id).await?;
    let image = release.map(|release| release.image).unwrap_or_default();
    let shortages = evaluation::shortages(tx, service.id).await?;
    let instances = deployment::instances(tx, deployment.id).await?;
    Ok(Progress {
        step: deployment.state.step,
        replicas: placement::replicas(tx, &service.spec).await?,
        instances: instances
            .into_iter()
            .filter(|i| !i.command && !i.going)
            .collect(),
        digest: image.rsplit('@').next().unwrap_or_default().to_owned(),
        shortages: shortages
            .into_iter()
            .filter(|shortage| shortage.deployment_id == deployment.id)
            .collect(),
    })
}
