//! Rows of `build`, as nodes and the builds' reconciler need them.

use domain::{
    id::{ArchiveId, BuildId, DeploymentId, NodeId, OrganizationId, ServiceId},
    spec::ServiceSpec,
};
use protocol::item::BuildSource;
use sqlx::{FromRow, Row as _, types::Json};
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};

/// A build whose node has to know of it, or to forget it.
#[derive(Debug, Clone)]
pub struct Build {
    pub id: BuildId,
    pub organization: OrganizationId,
    pub service: ServiceId,
    pub deployment: DeploymentId,
    pub source: BuildSource,
    pub root: String,
    pub spec: ServiceSpec,
    pub canceled: bool,
    pub finished: bool,
    pub node: Option<NodeId>,
    pub node_lost: bool,
    pub traceparent: Option<String>,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    organization_id: Uuid,
    service_id: Uuid,
    deployment_id: Uuid,
    source: Json<BuildSource>,
    root: Option<String>,
    spec: Json<ServiceSpec>,
    canceled: bool,
    finished: bool,
    node_id: Option<Uuid>,
    node_lost: bool,
    traceparent: Option<String>,
}

/// Builds that have not ended, and ended ones that a feed still has: the few that there are now, each by an
/// index, among all that there ever were.
/// One that can't be read is told with its id.
pub async fn open(tx: &mut SystemTx) -> Result<Vec<(BuildId, Result<Build, Error>)>, Error> {
    let rows = sqlx::query(
        "with known as (
            select id from build where finished_at is null
            union
            select b.id from feed_item i join build b on b.id = substr(i.id, length('build/bld_') + 1)::uuid
            where i.id like 'build/%' and i.feed = 'node/nod_' || replace(b.node_id::text, '-', '')
         )
         select b.id, b.organization_id, b.service_id, b.deployment_id, b.source, d.source ->> 'root' as root,
            d.spec, b.canceled, b.finished_at is not null as finished, b.node_id, d.traceparent,
            coalesce(s.late_since < now() - interval '75 seconds' and p.shown_epoch is null, false)
                or n.denied_at is not null or n.fenced_at is not null as node_lost
         from known join build b on b.id = known.id join deployment d on d.id = b.deployment_id
         left join node n on n.id = b.node_id left join node_status s on s.node_id = b.node_id
         cross join platform p
         order by b.created_at",
    )
    .fetch_all(tx.executor())
    .await?;
    rows.iter()
        .map(|row| {
            let id: Uuid = row.try_get("id")?;
            let build = Row::from_row(row).map(Build::from).map_err(Error::from);
            Ok((id.into(), build))
        })
        .collect()
}

impl From<Row> for Build {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            organization: row.organization_id.into(),
            service: row.service_id.into(),
            deployment: row.deployment_id.into(),
            source: row.source.0,
            root: row.root.unwrap_or_else(|| "/".to_owned()),
            spec: row.spec.0,
            canceled: row.canceled,
            finished: row.finished,
            node: row.node_id.map(Into::into),
            node_lost: row.node_lost,
            traceparent: row.traceparent,
        }
    }
}

/// How many unfinished builds each punctual agent has, fewest first.
pub async fn builders(tx: &mut SystemTx) -> Result<Vec<(NodeId, i64)>, Error> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "select n.id, coalesce(b.builds, 0)
         from node n join node_status s on s.node_id = n.id
         left join (select node_id, count(*) as builds from build where finished_at is null group by node_id) b
            on b.node_id = n.id
         where n.role = 'agent' and n.schedulable and not n.draining and n.denied_at is null
           and s.late_since is null
         order by 2, 1",
    )
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, count)| (id.into(), count))
        .collect())
}

/// Gives the build to a node, if it still is where it was.
pub async fn assign(tx: &mut SystemTx, build: &Build, node: NodeId) -> Result<bool, Error> {
    let assigned = sqlx::query(
        "update build set node_id = $3, attempt = attempt + 1, state = 'waiting'
         where id = $1 and node_id is not distinct from $2 and finished_at is null",
    )
    .bind(build.id.uuid())
    .bind(build.node.map(NodeId::uuid))
    .bind(node.uuid())
    .execute(tx.executor())
    .await?;
    Ok(assigned.rows_affected() == 1)
}

/// Keeps the build where it is until the transaction ends, if it still is there and goes on.
pub async fn hold(tx: &mut SystemTx, build: &Build) -> Result<bool, Error> {
    let held = sqlx::query(
        "select true from build where id = $1 and node_id is not distinct from $2
             and canceled = $3 and finished_at is null for share",
    )
    .bind(build.id.uuid())
    .bind(build.node.map(NodeId::uuid))
    .bind(build.canceled)
    .fetch_optional(tx.executor())
    .await?;
    Ok(held.is_some())
}

/// Ends a canceled build that no node will report on.
pub async fn end_canceled(tx: &mut SystemTx, id: BuildId) -> Result<(), Error> {
    sqlx::query(
        "update build set state = 'failed', problem_code = 'canceled', problem_message = 'canceled before it began',
            finished_at = now() where id = $1 and canceled and finished_at is null",
    )
    .bind(id.uuid())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Whether an unfinished build of this node is made from the archive.
pub async fn needs_archive(
    tx: &mut SystemTx,
    node: NodeId,
    archive: ArchiveId,
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(
        "select exists (select 1 from build where node_id = $1 and finished_at is null
            and source ->> 'from' = 'archive' and source ->> 'id' = $2)",
    )
    .bind(node.uuid())
    .bind(archive.to_string())
    .fetch_one(tx.executor())
    .await?)
}
