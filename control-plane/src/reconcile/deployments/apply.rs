//! Does what a step asks, in the step's transaction.

use domain::deployment::machine::{Effect, Failure};

use protocol::feed::DropCause;

use super::{release, release_command};
use crate::{
    feed::route::Rendering,
    reconcile::{Context, Error, orphans, routes},
    store::{
        self,
        deployment::{self, Deployment},
        evaluation,
        placement::{self, Service},
        route,
        tx::SystemTx,
    },
};

/// Does all; the inner result is the deployment's failure.
pub(super) async fn all(
    context: &Context,
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
    effects: &[Effect],
) -> Result<Result<(), Failure>, Error> {
    for effect in effects {
        let done = match effect {
            Effect::StartBuild => release::start_build(context, tx, service, deployment).await?,
            Effect::MakeRelease => release::make(context, tx, service, deployment).await?,
            effect => {
                let effect = std::slice::from_ref(effect);
                infallible(context.state.rendering, tx, service, deployment, effect).await?;
                Ok(())
            }
        };
        if done.is_err() {
            return Ok(done);
        }
    }
    Ok(Ok(()))
}

/// Effects that can only fail with the database.
pub(super) async fn infallible(
    rendering: Rendering,
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
    effects: &[Effect],
) -> Result<(), store::Error> {
    for effect in effects {
        match effect {
            Effect::Place => place(tx, service, deployment).await?,
            Effect::Route => route(rendering, tx, service, deployment).await?,
            Effect::Adopt => adopt(tx, service, deployment).await?,
            Effect::Abandon => abandon(rendering, tx, service, deployment).await?,
            Effect::StartBuild | Effect::MakeRelease => {}
        }
    }
    Ok(())
}

async fn place(
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<(), store::Error> {
    release_command::end(tx, deployment).await?;
    deployment::target(tx, deployment).await?;
    evaluation::request(tx, service.organization, service.id, "deployment").await
}

async fn route(
    rendering: Rendering,
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<(), store::Error> {
    route::point_to(tx, service.id, Some(deployment.id)).await?;
    let positions = reroute(rendering, tx, service).await?;
    deployment::set_shift_positions(tx, deployment.id, &positions).await
}

async fn adopt(
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<(), store::Error> {
    deployment::adopt(tx, deployment).await?;
    route::begin_late_time(tx, service.id).await?;
    orphans::let_go(tx, service.id, DropCause::Deployment).await?;
    evaluation::request(tx, service.organization, service.id, "deployment").await
}

/// What served before serves on: routes go back first, the scheduler ends what is not wanted.
async fn abandon(
    rendering: Rendering,
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<(), store::Error> {
    release_command::end(tx, deployment).await?;
    deployment::abandon(tx, deployment).await?;
    if service.routed == Some(deployment.id) {
        route::point_to(tx, service.id, service.current).await?;
        reroute(rendering, tx, service).await?;
    }
    evaluation::request(tx, service.organization, service.id, "deployment").await
}

async fn reroute(
    rendering: Rendering,
    tx: &mut SystemTx,
    service: &Service,
) -> Result<route::Positions, store::Error> {
    match placement::lock_service(tx, service.id).await? {
        Some(service) => routes::apply(tx, rendering, &service).await,
        None => Ok(route::Positions::new()),
    }
}
