//! Instances on their way out: unrouted, told to stop, stopped, forgotten.

use chrono::{DateTime, Utc};
use domain::{
    id::{InstanceId, NodeId, OrganizationId, ServiceId},
    instance::State,
    name::Name,
};
use protocol::feed::DropCause;
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

use super::{
    Error,
    route::Positions,
    tx::{Access as _, SystemTx},
};

/// An instance that shall go.
#[derive(Debug, Clone)]
pub struct Going {
    pub id: InstanceId,
    pub organization: OrganizationId,
    pub service: ServiceId,
    pub node: NodeId,
    pub region: Name,
    pub cause: String,
    /// It was told to stop.
    pub told: bool,
    /// Only one that serves was ever routed.
    pub serves: bool,
    /// Since when no route leads to it.
    pub unrouted: Option<Positions>,
    pub unrouted_at: Option<DateTime<Utc>>,
    /// Its node says that it has ended, or does not know it although it has applied its item.
    pub ended: bool,
    /// Its node was removed from the platform, or declared dead.
    pub node_gone: bool,
    pub now: DateTime<Utc>,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    organization_id: Uuid,
    service_id: Uuid,
    node_id: Uuid,
    region: String,
    stop_cause: String,
    told: bool,
    serves: bool,
    unrouted: Option<Json<Positions>>,
    unrouted_at: Option<DateTime<Utc>>,
    ended: bool,
    node_gone: bool,
    now: DateTime<Utc>,
}

/// Every instance that shall go and has not gone. The time that late edges have does not wait for a clock that was ahead.
pub async fn going(tx: &mut SystemTx) -> Result<Vec<Going>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "select i.id, i.organization_id, i.service_id, i.node_id, region.name as region, i.stop_cause, i.desired = 'stop' as told,
            i.purpose = 'serve' as serves, i.unrouted, now() as now,
            case when i.unrouted_at > now() then p.listening_since else i.unrouted_at end as unrouted_at,
            n.denied_at is not null or n.fenced_at is not null as node_gone,
            t.state >= $1 or coalesce(t.reported_at < s.reported_at and (f.epoch, f.generation) >= (p.epoch, item.generation), false)
                as ended
         from instance i join instance_status t on t.instance_id = i.id join node n on n.id = i.node_id
         join region on region.id = i.region_id cross join platform p
         left join node_status s on s.node_id = i.node_id
         left join node_feed f on f.node_id = i.node_id and f.feed = 'node/nod_' || replace(i.node_id::text, '-', '')
         left join feed_item item on item.feed = f.feed and item.id = 'instance/ins_' || replace(i.id::text, '-', '')
         where i.stop_cause is not null and i.stopped_at is null order by i.service_id, i.id",
    )
    .bind(State::Stopped.number())
    .fetch_all(tx.executor())
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

impl TryFrom<Row> for Going {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.id.into(),
            organization: row.organization_id.into(),
            service: row.service_id.into(),
            node: row.node_id.into(),
            region: row
                .region
                .parse()
                .map_err(|error| Error::corrupt("name", error))?,
            cause: row.stop_cause,
            told: row.told,
            serves: row.serves,
            unrouted: row.unrouted.map(|positions| positions.0),
            unrouted_at: row.unrouted_at,
            ended: row.ended,
            node_gone: row.node_gone,
            now: row.now,
        })
    }
}

/// Tells it to stop, unless somebody did.
pub async fn tell(tx: &mut SystemTx, id: InstanceId) -> Result<bool, Error> {
    let told = sqlx::query(
        "update instance set desired = 'stop', stop_requested_at = now() where id = $1 and desired = 'run'",
    )
    .bind(id.uuid())
    .execute(tx.executor())
    .await?;
    Ok(told.rows_affected() == 1)
}

/// It has gone: its reservation is given back, exactly once.
pub async fn gone(tx: &mut SystemTx, id: InstanceId) -> Result<bool, Error> {
    let given_back = sqlx::query(
        "with gone as (
            update instance set stopped_at = now(), desired = 'stop' where id = $1 and stopped_at is null
            returning node_id, cpu_millis, memory_bytes
         )
         update node set reserved_cpu_millis = reserved_cpu_millis - gone.cpu_millis,
            reserved_memory_bytes = reserved_memory_bytes - gone.memory_bytes, revision = revision + 1
         from gone where node.id = gone.node_id",
    )
    .bind(id.uuid())
    .execute(tx.executor())
    .await?;
    Ok(given_back.rows_affected() == 1)
}

/// The item that its node has of it.
pub async fn item(
    tx: &mut SystemTx,
    node: NodeId,
    id: InstanceId,
) -> Result<Option<String>, Error> {
    Ok(
        sqlx::query_scalar("select json from feed_item where feed = $1 and id = $2")
            .bind(protocol::feed::FeedName::Node(node).to_string())
            .bind(crate::feed::instance::item_id(id))
            .fetch_optional(tx.executor())
            .await?,
    )
}

/// The cause that nodes are told.
pub fn drop_cause(cause: &str) -> DropCause {
    match cause {
        "deployment" => DropCause::Deployment,
        "scale" | "deletion" => DropCause::Deletion,
        "drain" => DropCause::Drain,
        "finished" => DropCause::Finished,
        _ => DropCause::Plan,
    }
}
