//! Drives deployments through the machine of `domain::deployment`: observes, steps, and does what the
//! step asks in the same transaction. A compare-and-set on the row makes running twice harmless.

mod apply;
pub mod decide;
pub mod draining;
mod metrics;
mod observe;
mod release;
mod release_command;

use domain::{
    deployment::machine::{Fact, Outcome, State, Step, step},
    id::{DeploymentId, ServiceId},
};

use tracing::Instrument as _;

use decide::{decide, input};

use super::{Context, Error, Turn, metrics::refused};
use crate::{
    store::{
        self,
        deployment::{self, Deployment},
        event,
        placement::{self, Service},
        tx::{Access as _, SystemTx},
    },
    waker::Topic,
};

/// Steps of one deployment in one turn; more would mean that it goes in circles.
const STEPS_MAX: usize = 16;

pub(super) async fn run(context: Context) -> Result<(), Error> {
    metrics::serve();
    let all = deployment::unfinished(&mut SystemTx::begin(&context.state.pools).await?).await?;
    let mut turn = Turn::default();
    for (id, service) in all {
        for _ in 0..STEPS_MAX {
            let stepped = advance(&context, id, service).await;
            if turn.note(service, stepped)? != Some(true) {
                break;
            }
        }
    }
    turn.end()
}

/// One step at most; whether it was taken.
async fn advance(context: &Context, id: DeploymentId, service: ServiceId) -> Result<bool, Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let Some(service) = placement::lock_service(&mut tx, service).await? else {
        return Ok(false);
    };
    let Some(deployment) = deployment::find_unfinished(&mut tx, id).await? else {
        return Ok(false);
    };
    let span = tracing::info_span!("deployment step", deployment = %id);
    if let Some(traceparent) = &deployment.traceparent {
        telemetry::context::set_parent(&span, traceparent);
    }
    let stepped = take_step(context, tx, &service, &deployment).instrument(span);
    stepped.await
}

async fn take_step(
    context: &Context,
    mut tx: SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<bool, Error> {
    if release_command::ensure(&mut tx, service, deployment).await? {
        tx.commit().await?;
        wake(context);
        return Ok(false);
    }
    let view = observe::load(&mut tx, service, deployment).await?;
    let Some((next, effects)) = decide(&view) else {
        return Ok(false);
    };
    let outcome = apply::all(context, &mut tx, service, deployment, &effects).await?;
    let next = match outcome {
        Ok(()) => next,
        // What the step asked for can't be done: that is the deployment's failure.
        Err(failure) => {
            let failed = Outcome::Failed(failure);
            let fact = match next.step {
                Step::Building => Fact::Build(failed),
                _ => Fact::Release(failed),
            };
            let (failed, effects) = step(&next, &input(&view, fact));
            let rendering = context.state.rendering;
            apply::infallible(rendering, &mut tx, service, deployment, &effects).await?;
            failed
        }
    };
    if !deployment::advance(&mut tx, deployment, &next).await? {
        refused("deployments");
        return Ok(false);
    }
    announce(&mut tx, deployment, &next).await?;
    failpoint::reach("step-written");
    tx.commit().await?;
    failpoint::reach("step-committed");
    wake(context);
    let changed = next.step != deployment.state.step;
    if changed {
        metrics::observe(&next);
    }
    Ok(changed)
}

async fn announce(
    tx: &mut SystemTx,
    deployment: &Deployment,
    next: &State,
) -> Result<(), store::Error> {
    if next.step == deployment.state.step {
        return Ok(());
    }
    let mut event = event::NewEvent::new("deployment.changed", deployment.id);
    event.data = serde_json::json!({
        "service_id": deployment.service,
        "state": next.step,
        "problem": next.problem,
    });
    tracing::info!(deployment = %deployment.id, service = %deployment.service, step = next.step.as_str(),
        problem = next.problem.as_ref().map(|problem| problem.message.as_str()), "a deployment has gone on");
    event::append(tx.executor(), deployment.organization, &[event]).await
}

fn wake(context: &Context) {
    for topic in [
        Topic::Evaluations,
        Topic::Deployments,
        Topic::Feeds,
        Topic::Instances,
        Topic::Events,
    ] {
        context.state.waker.wake(topic);
    }
}
