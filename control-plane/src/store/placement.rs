//! What the scheduler sees of a service and of nodes, and its plan written back with a
//! compare-and-set per node.

use std::collections::BTreeMap;

use domain::{
    id::{
        DeploymentId, EnvironmentId, InstanceId, OrganizationId, ProjectId, RegionId, ReleaseId,
        ServiceId,
    },
    instance::State,
    name::Name,
    quantity::{Bytes, MilliCpu},
    spec::ServiceSpec,
};
use scheduler::{Amount, Liveness, Node, Phase, Placement};
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};

#[cfg(test)]
pub mod example;

/// Silent for this much longer than it takes to be late, a node is lost: 2 min together.
const LOST_AFTER_LATE: &str = "75 seconds";

/// The problem of an instance that has not failed, but is not up yet.
const STILL_STARTING: &str = "startup_probe_failing";

/// A service as placement sees it; its row is held until the transaction's end, so that two
/// replicas never plan one service at once.
#[derive(Debug, Clone)]
pub struct Service {
    pub id: ServiceId,
    pub organization: OrganizationId,
    pub name: Name,
    pub environment: EnvironmentId,
    pub environment_name: Name,
    pub project: ProjectId,
    pub project_name: Name,
    /// Today's specification: its scale counts, the rest is frozen in releases.
    pub spec: ServiceSpec,
    /// Something shall run.
    pub active: bool,
    pub deleted: bool,
    /// The newest live one, unless it was taken down.
    pub current: Option<DeploymentId>,
    pub target: Option<DeploymentId>,
    pub routed: Option<DeploymentId>,
}

#[derive(FromRow)]
struct ServiceRow {
    id: Uuid,
    organization_id: Uuid,
    name: String,
    environment_id: Uuid,
    environment_name: String,
    project_id: Uuid,
    project_name: String,
    spec: Json<ServiceSpec>,
    active: bool,
    deleted: bool,
    current_deployment_id: Option<Uuid>,
    target_deployment_id: Option<Uuid>,
    routed_deployment_id: Option<Uuid>,
}

/// Takes the service's row.
pub async fn lock_service(tx: &mut SystemTx, id: ServiceId) -> Result<Option<Service>, Error> {
    let row: Option<ServiceRow> = sqlx::query_as(
        "select s.id, s.organization_id, s.name, s.environment_id, e.name as environment_name,
            e.project_id, p.name as project_name, s.spec, s.active,
            nullif(s.current_deployment_id, s.down_deployment_id) as current_deployment_id,
            s.target_deployment_id, s.routed_deployment_id,
            s.deleted_at is not null or e.deleted_at is not null or p.deleted_at is not null as deleted
         from service s join environment e on e.id = s.environment_id join project p on p.id = e.project_id
         where s.id = $1 for update of s",
    )
    .bind(id.uuid())
    .fetch_optional(tx.executor())
    .await?;
    row.map(TryInto::try_into).transpose()
}

impl TryFrom<ServiceRow> for Service {
    type Error = Error;

    fn try_from(row: ServiceRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.id.into(),
            organization: row.organization_id.into(),
            name: name(&row.name)?,
            environment: row.environment_id.into(),
            environment_name: name(&row.environment_name)?,
            project: row.project_id.into(),
            project_name: name(&row.project_name)?,
            spec: row.spec.0,
            active: row.active,
            deleted: row.deleted,
            current: row.current_deployment_id.map(Into::into),
            target: row.target_deployment_id.map(Into::into),
            routed: row.routed_deployment_id.map(Into::into),
        })
    }
}

/// Replicas per region; without any in the specification, one in the platform's first region.
pub async fn replicas(tx: &mut SystemTx, spec: &ServiceSpec) -> Result<BTreeMap<Name, u32>, Error> {
    if !spec.scale.regions.is_empty() {
        return Ok(spec.scale.regions.clone());
    }
    let first: Option<String> = sqlx::query_scalar(
        "select name from region where enabled order by created_at, name limit 1",
    )
    .fetch_optional(tx.executor())
    .await?;
    first
        .map(|first| Ok((name(&first)?, 1)))
        .into_iter()
        .collect()
}

/// The release behind a deployment.
#[derive(Debug, Clone)]
pub struct Release {
    pub id: ReleaseId,
    pub deployment: DeploymentId,
    pub deployment_number: i64,
    /// `host/repository@sha256:…`
    pub image: String,
    pub spec: ServiceSpec,
    /// Version of each variable's frozen value.
    pub variables: BTreeMap<String, i64>,
    pub commit_sha: Option<String>,
    pub commit_author: Option<String>,
    pub commit_branch: Option<String>,
    pub traceparent: Option<String>,
}

#[derive(FromRow)]
struct ReleaseRow {
    id: Uuid,
    deployment_id: Uuid,
    deployment_number: i64,
    image: String,
    spec: Json<ServiceSpec>,
    variables: Json<BTreeMap<String, i64>>,
    commit_sha: Option<String>,
    commit_author: Option<String>,
    commit_branch: Option<String>,
    traceparent: Option<String>,
}

/// The release of a deployment, once it has one.
pub async fn release_of(
    tx: &mut SystemTx,
    deployment: DeploymentId,
) -> Result<Option<Release>, Error> {
    let row: Option<ReleaseRow> = sqlx::query_as(
        "select r.id, d.id as deployment_id, d.number as deployment_number, r.image, r.spec, r.variables,
            r.commit_sha, r.commit_author, r.commit_branch, d.traceparent
         from deployment d join release r on r.id = d.release_id where d.id = $1",
    )
    .bind(deployment.uuid())
    .fetch_optional(tx.executor())
    .await?;
    Ok(row.map(|row| Release {
        id: row.id.into(),
        deployment: row.deployment_id.into(),
        deployment_number: row.deployment_number,
        image: row.image,
        spec: row.spec.0,
        variables: row.variables.0,
        commit_sha: row.commit_sha,
        commit_author: row.commit_author,
        commit_branch: row.commit_branch,
        traceparent: row.traceparent,
    }))
}

#[derive(FromRow)]
struct NodeRow {
    id: Uuid,
    region: String,
    schedulable: bool,
    draining: bool,
    late: bool,
    lost: bool,
    gone: bool,
    cpu_millis: i64,
    memory_bytes: i64,
    reserved_cpu_millis: i64,
    reserved_memory_bytes: i64,
    failures: i64,
}

/// Every agent that has ever reported.
pub async fn nodes(tx: &mut SystemTx) -> Result<Vec<Node>, Error> {
    let rows: Vec<NodeRow> = sqlx::query_as(
        "select n.id, region.name as region, n.schedulable and region.enabled as schedulable, n.draining,
            s.late_since is not null as late,
            coalesce(s.late_since < now() - $1::text::interval and p.shown_epoch is null, false) as lost,
            n.denied_at is not null or n.fenced_at is not null as gone,
            s.cpu_millis, s.memory_bytes, n.reserved_cpu_millis, n.reserved_memory_bytes,
            coalesce(failing.instances, 0) as failures
         from node n join region on region.id = n.region_id join node_status s on s.node_id = n.id
         cross join platform p
         left join (
            select i.node_id, count(*) as instances from instance_status t join instance i on i.id = t.instance_id
            where t.problem_code <> $2 and i.stopped_at is null group by i.node_id
         ) failing on failing.node_id = n.id
         where n.role = 'agent' order by n.id",
    )
    .bind(LOST_AFTER_LATE)
    .bind(STILL_STARTING)
    .fetch_all(tx.executor())
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

impl TryFrom<NodeRow> for Node {
    type Error = Error;

    fn try_from(row: NodeRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.id.into(),
            region: name(&row.region)?,
            schedulable: row.schedulable,
            draining: row.draining,
            liveness: match (row.gone, row.lost, row.late) {
                (true, ..) => Liveness::Gone,
                (false, true, _) => Liveness::Lost,
                (false, false, true) => Liveness::Late,
                (false, false, false) => Liveness::Punctual,
            },
            capacity: amount(row.cpu_millis, row.memory_bytes),
            reserved: amount(row.reserved_cpu_millis, row.reserved_memory_bytes),
            recent_failures: u32::try_from(row.failures).unwrap_or(u32::MAX),
        })
    }
}

/// The service's instances that still count.
pub async fn instances(
    tx: &mut SystemTx,
    service: ServiceId,
) -> Result<Vec<scheduler::Instance>, Error> {
    let rows: Vec<(Uuid, Uuid, Uuid, bool, i16, bool)> = sqlx::query_as(
        "select i.id, i.deployment_id, i.node_id, i.stop_cause is not null, t.state, t.ready
         from instance i join instance_status t on t.instance_id = i.id
         where i.service_id = $1 and i.purpose = 'serve' and i.stopped_at is null order by i.id",
    )
    .bind(service.uuid())
    .fetch_all(tx.executor())
    .await?;
    let instances = rows
        .into_iter()
        .map(|(id, deployment, node, told_to_go, state, ready)| {
            let state =
                State::from_number(state).ok_or_else(|| Error::corrupt("instance state", state))?;
            Ok(scheduler::Instance {
                id: id.into(),
                deployment_id: deployment.into(),
                node_id: node.into(),
                phase: Phase::of(told_to_go, state, ready),
            })
        });
    instances.collect()
}

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Serve,
    ReleaseCommand,
}

/// Reserves room on the node and makes the instance; none when the node has no room any more.
pub async fn place(
    tx: &mut SystemTx,
    service: &Service,
    placement: &Placement,
    purpose: Purpose,
) -> Result<Option<InstanceId>, Error> {
    let (cpu, memory) = columns(placement.resources)?;
    let region: Option<Uuid> = sqlx::query_scalar(
        "update node n set reserved_cpu_millis = reserved_cpu_millis + $2,
            reserved_memory_bytes = reserved_memory_bytes + $3, revision = revision + 1
         from node_status s
         where n.id = $1 and s.node_id = n.id and n.schedulable and not n.draining and n.denied_at is null and n.fenced_at is null
           and reserved_cpu_millis + $2 <= s.cpu_millis and reserved_memory_bytes + $3 <= s.memory_bytes
         returning n.region_id",
    )
    .bind(placement.node_id.uuid())
    .bind(cpu)
    .bind(memory)
    .fetch_optional(tx.executor())
    .await?;
    let Some(region) = region else {
        return Ok(None);
    };
    let id = InstanceId::new();
    insert(tx, id, service, placement, RegionId::from(region), purpose).await?;
    Ok(Some(id))
}

pub(super) async fn insert(
    tx: &mut SystemTx,
    id: InstanceId,
    service: &Service,
    placement: &Placement,
    region: RegionId,
    purpose: Purpose,
) -> Result<(), Error> {
    let (cpu, memory) = columns(placement.resources)?;
    sqlx::query(
        "with made as (
            insert into instance (id, organization_id, service_id, deployment_id, release_id, node_id,
                region_id, purpose, cpu_millis, memory_bytes)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) returning id, organization_id
         )
         insert into instance_status (instance_id, organization_id) select id, organization_id from made",
    )
    .bind(id.uuid())
    .bind(service.organization.uuid())
    .bind(service.id.uuid())
    .bind(placement.deployment_id.uuid())
    .bind(placement.release_id.uuid())
    .bind(placement.node_id.uuid())
    .bind(region.uuid())
    .bind(match purpose {
        Purpose::Serve => "serve",
        Purpose::ReleaseCommand => "release_command",
    })
    .bind(cpu)
    .bind(memory)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Marks an instance as one that shall go; the first cause stays.
pub async fn stop(tx: &mut SystemTx, id: InstanceId, cause: &str) -> Result<(), Error> {
    sqlx::query("update instance set stop_cause = $2 where id = $1 and stop_cause is null")
        .bind(id.uuid())
        .bind(cause)
        .execute(tx.executor())
        .await?;
    Ok(())
}

/// The whole reservation of an amount, as columns.
pub(super) fn columns(amount: Amount) -> Result<(i64, i64), Error> {
    let memory = i64::try_from(amount.memory.0).map_err(|e| Error::corrupt("memory", e))?;
    Ok((amount.cpu.0.into(), memory))
}

fn amount(cpu: i64, memory: i64) -> Amount {
    Amount {
        cpu: MilliCpu(u32::try_from(cpu).unwrap_or_default()),
        memory: Bytes(u64::try_from(memory).unwrap_or_default()),
    }
}

fn name(text: &str) -> Result<Name, Error> {
    text.parse().map_err(|error| Error::corrupt("name", error))
}
