//! Answers evaluations: claims one, takes a snapshot, plans in pure code, and writes the plan with a
//! compare-and-set per node. What is refused makes a new evaluation.

use std::collections::BTreeMap;

use domain::{id::DeploymentId, name::Name};
use protocol::feed::FeedName;
use scheduler::{Amount, Evaluation, Goal, Placement, Plan, Snapshot};

use super::{Context, Error, Turn, metrics, orphans, routes};
use crate::{
    feed::{
        instance,
        route::{Changes, Rendering},
    },
    store::{
        self, deployment, epoch,
        evaluation::{self, Claim, Shortage},
        event::{self, NewEvent},
        feed::{self, Change},
        orphan,
        placement::{self, Purpose, Release, Service},
        route,
        tx::{Access as _, SystemTx},
    },
    waker::Topic,
};

/// Evaluations answered in one turn; the others come with the next one.
const TURN_MAX: usize = 500;

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let pools = &context.state.pools;
    let mut tx = SystemTx::begin(pools).await?;
    // After a restore agents say first what they run.
    if epoch::is_settling(&mut tx).await? {
        tx.commit().await?;
        return Ok(());
    }
    evaluation::revive(&mut tx, false).await?;
    tx.commit().await?;
    let mut turn = Turn::default();
    for _ in 0..TURN_MAX {
        let mut tx = SystemTx::begin(pools).await?;
        let Some(claim) = evaluation::claim(&mut tx, context.holder).await? else {
            break;
        };
        tx.commit().await?;
        // One that can't be answered stays in hand, and is tried again when its time is over.
        turn.note(claim.service, answer(&context, &claim).await)?;
    }
    turn.end()
}

async fn answer(context: &Context, claim: &Claim) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let rendering = context.state.rendering;
    if let Some(service) = lock(&mut tx, rendering, claim).await? {
        let mut releases = Vec::new();
        for deployment in wanted(&service) {
            releases.extend(placement::release_of(&mut tx, deployment).await?);
        }
        let mut snapshot = Snapshot {
            nodes: placement::nodes(&mut tx).await?,
            instances: placement::instances(&mut tx, service.id).await?,
        };
        let replicas = placement::replicas(&mut tx, &service.spec).await?;
        let view = orphans::View {
            service: &service,
            releases: &releases,
            replicas: &replicas,
            snapshot: &snapshot,
            orphans: &orphan::candidates(&mut tx, service.id).await?,
        };
        // What runs already is not placed again.
        if orphans::adopt(&mut tx, &view).await? > 0 {
            snapshot.instances = placement::instances(&mut tx, service.id).await?;
        }
        let question = question(&service, &releases, &replicas);
        let plan = scheduler::plan(&snapshot, &question);
        let shortages = apply(&mut tx, rendering, &service, &releases, &plan).await?;
        evaluation::finish(&mut tx, claim, shortages).await?;
        let events = events(&service, &plan);
        event::append(tx.executor(), service.organization, &events).await?;
        tx.commit().await?;
        if !events.is_empty() {
            failpoint::reach("plan-applied");
        }
    } else {
        evaluation::finish(&mut tx, claim, Vec::new()).await?;
        tx.commit().await?;
    }
    for topic in [
        Topic::Feeds,
        Topic::Instances,
        Topic::Deployments,
        Topic::Evaluations,
        Topic::Events,
    ] {
        context.state.waker.wake(topic);
    }
    Ok(())
}

/// The service's row; one that was taken down loses its routes first.
async fn lock(
    tx: &mut SystemTx,
    rendering: Rendering,
    claim: &Claim,
) -> Result<Option<Service>, store::Error> {
    let found = placement::lock_service(tx, claim.service).await?;
    if found.as_ref().is_none_or(|service| service.active) {
        return Ok(found);
    }
    deployment::take_down(tx, claim.service).await?;
    let taken_down = placement::lock_service(tx, claim.service).await?;
    if let Some(service) = &taken_down {
        routes::apply(tx, rendering, service).await?;
    }
    Ok(taken_down)
}

/// The deployments that shall run, oldest first.
#[must_use]
pub fn wanted(service: &Service) -> Vec<DeploymentId> {
    if !service.active || service.deleted {
        return Vec::new();
    }
    let mut wanted: Vec<_> = service.current.into_iter().chain(service.target).collect();
    wanted.dedup();
    wanted
}

/// What the scheduler is asked: every release with the replicas of today's specification.
#[must_use]
pub fn question(
    service: &Service,
    releases: &[Release],
    replicas: &BTreeMap<Name, u32>,
) -> Evaluation {
    let goals = releases.iter().map(|release| Goal {
        deployment_id: release.deployment,
        release_id: release.id,
        replicas: replicas.clone(),
        resources: needs(release),
        strategy: release.spec.deploy.strategy,
    });
    Evaluation {
        service_id: service.id,
        goals: goals.collect(),
    }
}

/// What one replica of a release reserves.
pub(super) fn needs(release: &Release) -> Amount {
    let resources = release.spec.scale.resources;
    Amount {
        cpu: resources.cpu,
        memory: resources.memory,
    }
}

async fn apply(
    tx: &mut SystemTx,
    rendering: Rendering,
    service: &Service,
    releases: &[Release],
    plan: &Plan,
) -> Result<Vec<Shortage>, store::Error> {
    let by_deployment: BTreeMap<DeploymentId, &Release> = releases
        .iter()
        .map(|release| (release.deployment, release))
        .collect();
    let public_domain = route::hostnames(tx, service).await?.into_iter().next();
    let mut changes = Changes::new();
    // Nodes are locked in one order, so that two plans can't wait for each other.
    let mut placements: Vec<&Placement> = plan.placements.iter().collect();
    placements.sort_by_key(|placement| placement.node_id);
    for placement in placements {
        let Some(release) = by_deployment.get(&placement.deployment_id) else {
            continue;
        };
        let placed = placement::place(tx, service, placement, Purpose::Serve).await?;
        let Some(id) = placed else {
            metrics::refused("evaluations");
            evaluation::request(tx, service.organization, service.id, "refused").await?;
            continue;
        };
        let domain = public_domain.as_deref();
        let item = instance::serving(service, release, id, &placement.region, domain);
        let (item, secrets) = instance::render(item)?;
        let id = instance::item_id(id);
        let change = Change::Put { id, item, secrets };
        changes
            .entry(FeedName::Node(placement.node_id))
            .or_default()
            .push(change);
    }
    feed::write(tx, changes).await?;
    for stop in &plan.stops {
        placement::stop(tx, stop.instance_id, stop.cause.as_str()).await?;
    }
    if !plan.stops.is_empty() {
        routes::apply(tx, rendering, service).await?;
    }
    Ok(plan.exhausted.iter().map(shortage).collect())
}

/// What people watch: one event when anything was placed or is to stop.
fn events(service: &Service, plan: &Plan) -> Vec<NewEvent> {
    if plan.placements.is_empty() && plan.stops.is_empty() {
        return Vec::new();
    }
    let mut event = NewEvent::new("service.placed", service.id);
    event.data = serde_json::json!({
        "placed": plan.placements.len(),
        "stopping": plan.stops.len(),
        "missing": plan.exhausted.iter().map(|exhausted| exhausted.missing).sum::<u32>(),
    });
    vec![event]
}

fn shortage(exhausted: &scheduler::Exhausted) -> Shortage {
    Shortage {
        deployment_id: exhausted.deployment_id,
        region: exhausted.region.to_string(),
        missing: exhausted.missing,
        explanation: exhausted.explanation.clone(),
    }
}
