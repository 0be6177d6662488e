//! Deployments as their reconciler sees them: the machine's state, and what is observed of builds,
//! instances and edges.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{
    deployment::{
        Source,
        machine::{Failure, State, Step, queued},
    },
    id::{BuildId, DeploymentId, OrganizationId, ReleaseId, ServiceId},
    spec::ServiceSpec,
};
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

use super::{
    Error, liveness,
    route::Positions,
    tx::{Access as _, SystemTx},
};

/// A deployment's row.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub id: DeploymentId,
    pub organization: OrganizationId,
    pub service: ServiceId,
    pub number: i64,
    pub source: Source,
    pub spec: ServiceSpec,
    pub reason: String,
    pub cancel_requested: bool,
    /// W3C trace context of the request that asked for it.
    pub traceparent: Option<String>,
    pub release: Option<ReleaseId>,
    pub state: State,
    pub shift_positions: Option<Positions>,
    /// An older deployment of the service has not ended.
    pub older_at_work: bool,
    /// A newer one waits.
    pub newer_waits: bool,
    /// The database's time; it stands still while nobody listens to nodes.
    pub now: DateTime<Utc>,
    /// What a change is compared with.
    pub version: i64,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    organization_id: Uuid,
    service_id: Uuid,
    number: i64,
    source: Json<Source>,
    spec: Json<ServiceSpec>,
    reason: String,
    cancel_requested: bool,
    traceparent: Option<String>,
    state: String,
    release_id: Option<Uuid>,
    deadline: Option<DateTime<Utc>>,
    shift_positions: Option<Json<BTreeMap<protocol::feed::FeedName, domain::generation::Position>>>,
    error_code: Option<String>,
    error_message: Option<String>,
    version: i64,
    created_at: DateTime<Utc>,
    older_at_work: bool,
    newer_waits: bool,
    now: DateTime<Utc>,
}

/// Deployments that have not ended, with their services, oldest first.
pub async fn unfinished(tx: &mut SystemTx) -> Result<Vec<(DeploymentId, ServiceId)>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select id, service_id from deployment where finished_at is null order by service_id, number",
    )
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, service)| (id.into(), service.into()))
        .collect())
}

/// One that has not ended. Time in which no replica could store a report is none in which a step could be done:
/// after a gap in our listening, or when the clock has jumped ahead, a step's time counts anew. So it does when the
/// step was entered while the clock was ahead.
pub async fn find_unfinished(
    tx: &mut SystemTx,
    id: DeploymentId,
) -> Result<Option<Deployment>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "select d.*, least(now(), p.listened_at + make_interval(secs => $2)) as now,
            d.step_deadline + case when d.state_since > now() + make_interval(secs => $2)
                then p.listening_since - d.state_since
                else greatest(p.listening_since - d.state_since, '0') end as deadline,
            exists (select 1 from deployment o where o.service_id = d.service_id
                and o.number < d.number and o.finished_at is null) as older_at_work,
            exists (select 1 from deployment o where o.service_id = d.service_id
                and o.number > d.number and o.finished_at is null) as newer_waits
         from deployment d cross join platform p where d.id = $1 and d.finished_at is null",
    )
    .bind(id.uuid())
    .bind(liveness::GAP.as_secs_f64())
    .fetch_optional(tx.executor())
    .await?;
    row.map(TryInto::try_into).transpose()
}

impl TryFrom<Row> for Deployment {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let step: Step = row
            .state
            .parse()
            .map_err(|error| Error::corrupt("state of a deployment", error))?;
        let problem = match (row.error_code, row.error_message) {
            (Some(code), Some(message)) => Some(Failure { code, message }),
            _ => None,
        };
        let stored = State {
            step,
            deadline: row.deadline,
            problem,
        };
        // As made by the API: the machine has not seen it yet.
        let fresh = step == Step::Queued && row.deadline.is_none();
        Ok(Self {
            id: row.id.into(),
            organization: row.organization_id.into(),
            service: row.service_id.into(),
            number: row.number,
            source: row.source.0,
            spec: row.spec.0,
            reason: row.reason,
            cancel_requested: row.cancel_requested,
            traceparent: row.traceparent,
            release: row.release_id.map(Into::into),
            state: if fresh {
                queued(row.created_at)
            } else {
                stored
            },
            shift_positions: row.shift_positions.map(|positions| positions.0),
            older_at_work: row.older_at_work,
            newer_waits: row.newer_waits,
            now: row.now,
            version: row.version,
        })
    }
}

/// Keeps a new state if nobody else has changed the row; whether it did.
pub async fn advance(
    tx: &mut SystemTx,
    deployment: &Deployment,
    next: &State,
) -> Result<bool, Error> {
    let entered = next.step != deployment.state.step;
    let problem = next.problem.as_ref();
    let changed = sqlx::query(
        "update deployment set state = $3, error_code = $5, error_message = $6, version = version + 1,
            step_deadline = case when $7 then now() + ($4 - $9) else coalesce(step_deadline, $4) end,
            state_since = case when $7 then now() else state_since end,
            finished_at = case when $8 then now() end
         where id = $1 and version = $2",
    )
    .bind(deployment.id.uuid())
    .bind(deployment.version)
    .bind(next.step.as_str())
    .bind(next.deadline)
    .bind(problem.map(|problem| &problem.code))
    .bind(problem.map(|problem| &problem.message))
    .bind(entered)
    .bind(next.step.is_final())
    .bind(deployment.now)
    .execute(tx.executor())
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    if entered {
        sqlx::query(
            "insert into deployment_step (organization_id, deployment_id, position, state)
             select $1, $2, coalesce(max(position), 0) + 1, $3 from deployment_step
             where organization_id = $1 and deployment_id = $2",
        )
        .bind(deployment.organization.uuid())
        .bind(deployment.id.uuid())
        .bind(next.step.as_str())
        .execute(tx.executor())
        .await?;
    }
    Ok(true)
}

pub async fn set_shift_positions(
    tx: &mut SystemTx,
    id: DeploymentId,
    positions: &Positions,
) -> Result<(), Error> {
    sqlx::query("update deployment set shift_positions = $2 where id = $1")
        .bind(id.uuid())
        .bind(Json(positions))
        .execute(tx.executor())
        .await?;
    Ok(())
}

pub async fn set_release(
    tx: &mut SystemTx,
    id: DeploymentId,
    release: ReleaseId,
) -> Result<(), Error> {
    sqlx::query("update deployment set release_id = $2 where id = $1")
        .bind(id.uuid())
        .bind(release.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}

/// The service works towards this deployment from now on.
pub async fn target(tx: &mut SystemTx, deployment: &Deployment) -> Result<(), Error> {
    sqlx::query("update service set target_deployment_id = $2, active = true where id = $1")
        .bind(deployment.service.uuid())
        .bind(deployment.id.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}

/// It is what the service runs.
pub async fn adopt(tx: &mut SystemTx, deployment: &Deployment) -> Result<(), Error> {
    sqlx::query(
        "update service set current_deployment_id = $2, target_deployment_id = null where id = $1",
    )
    .bind(deployment.service.uuid())
    .bind(deployment.id.uuid())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// It is not worked towards any more; its build is called off.
pub async fn abandon(tx: &mut SystemTx, deployment: &Deployment) -> Result<(), Error> {
    sqlx::query(
        "update service set target_deployment_id = null where id = $1 and target_deployment_id = $2",
    )
    .bind(deployment.service.uuid())
    .bind(deployment.id.uuid())
    .execute(tx.executor())
    .await?;
    sqlx::query(
        "update build set canceled = true where deployment_id = $1 and finished_at is null",
    )
    .bind(deployment.id.uuid())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// What is current shall not run any more, nor be routed to.
pub async fn take_down(tx: &mut SystemTx, service: ServiceId) -> Result<(), Error> {
    sqlx::query(
        "update service set down_deployment_id = current_deployment_id, routed_deployment_id = null
         where id = $1 and not active",
    )
    .bind(service.uuid())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// A build as the deployment sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    pub id: BuildId,
    pub finished: bool,
    pub digest: Option<String>,
    pub problem: Option<Failure>,
}

pub async fn build(tx: &mut SystemTx, id: DeploymentId) -> Result<Option<Build>, Error> {
    type Row = (Uuid, bool, Option<String>, Option<String>, Option<String>);
    let row: Option<Row> = sqlx::query_as(
        "select id, finished_at is not null, digest, problem_code, problem_message
         from build where deployment_id = $1 order by created_at desc limit 1",
    )
    .bind(id.uuid())
    .fetch_optional(tx.executor())
    .await?;
    Ok(row.map(|(id, finished, digest, code, message)| Build {
        id: id.into(),
        finished,
        digest,
        problem: code.map(|code| Failure {
            code,
            message: message.unwrap_or_default(),
        }),
    }))
}

/// An instance as the deployment sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: domain::id::InstanceId,
    pub region: String,
    pub node: String,
    pub command: bool,
    pub going: bool,
    pub state: domain::instance::State,
    pub ready: bool,
    pub restarts: i32,
    pub digest: Option<String>,
    pub exit_code: Option<i64>,
    pub problem: Option<Failure>,
}

#[derive(FromRow)]
struct InstanceRow {
    id: Uuid,
    region: String,
    node: String,
    command: bool,
    going: bool,
    state: i16,
    ready: bool,
    restarts: i32,
    image_digest: Option<String>,
    exit_code: Option<i64>,
    problem_code: Option<String>,
    problem_message: Option<String>,
}

/// How many instances of other deployments of the service have not ended, by region.
pub async fn older_instances(
    tx: &mut SystemTx,
    deployment: &Deployment,
) -> Result<BTreeMap<String, i64>, Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select region.name, count(*) from instance i join region on region.id = i.region_id
         where i.service_id = $1 and i.deployment_id <> $2 and i.purpose = 'serve' and i.stopped_at is null
         group by region.name",
    )
    .bind(deployment.service.uuid())
    .bind(deployment.id.uuid())
    .fetch_all(tx.executor())
    .await?;
    Ok(rows.into_iter().collect())
}

pub async fn instances(tx: &mut SystemTx, id: DeploymentId) -> Result<Vec<Instance>, Error> {
    let rows: Vec<InstanceRow> = sqlx::query_as(
        "select i.id, region.name as region, n.name as node, i.purpose = 'release_command' as command,
            i.stop_cause is not null as going, t.state, t.ready, t.restarts, t.image_digest, t.exit_code,
            t.problem_code, t.problem_message
         from instance i join instance_status t on t.instance_id = i.id
         join region on region.id = i.region_id join node n on n.id = i.node_id
         where i.deployment_id = $1 order by i.id",
    )
    .bind(id.uuid())
    .fetch_all(tx.executor())
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = domain::instance::State::from_number(row.state)
                .ok_or_else(|| Error::corrupt("state of an instance", row.state))?;
            Ok(Instance {
                id: row.id.into(),
                region: row.region,
                node: row.node,
                command: row.command,
                going: row.going,
                state,
                ready: row.ready,
                restarts: row.restarts,
                digest: row.image_digest,
                exit_code: row.exit_code,
                problem: row.problem_code.map(|code| Failure {
                    code,
                    message: row.problem_message.unwrap_or_default(),
                }),
            })
        })
        .collect()
}
