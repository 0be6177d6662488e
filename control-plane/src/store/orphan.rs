//! Instances that nodes run on although the plan does not know them (docs/ARCHITECTURE.md, invariant 23): taken back
//! when the plan has a place for them, let go by an operator or by the service's next deployment.

use std::time::Duration;

use api::{orphan::Orphan, page::Page};
use domain::id::{InstanceId, NodeId, ServiceId};
use protocol::{
    feed::FeedName,
    report::{InstanceReport, StoredItem},
};
use scheduler::Placement;
use sqlx::{FromRow, postgres::PgRow};
use uuid::Uuid;

use super::{
    Error, evaluation, feed,
    page::Paging,
    placement::{self, Purpose, Service},
    query,
    row::Columns as _,
    tx::{Access, SystemTx, Write},
};
use crate::feed::route::service_item_id;

/// What was let go, or is over, and is in no document of its node is not reported as an orphan any more by then.
pub const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// What a node reports and the plan does not know: the whole of it. Whether something is new: then the
/// scheduler is asked about its service. What the plan knows to be over, and its node says it keeps without a document
/// (a machine that was fenced, and came back into another epoch), is let go at once; where it does not even know the item
/// (it has lost its feed's snapshot, or died as it read of the end), a minute after it was over.
pub async fn replace(
    tx: &mut SystemTx,
    node: NodeId,
    instances: &[InstanceReport],
) -> Result<bool, Error> {
    let alive: Vec<&InstanceReport> = instances
        .iter()
        .filter(|instance| instance.state < domain::instance::State::Stopped)
        .collect();
    let ids: Vec<Uuid> = alive.iter().map(|instance| instance.id.uuid()).collect();
    sqlx::query(
        "delete from orphan_instance o where node_id = $1 and (instance_id <> all($2)
            or exists (select 1 from instance i where i.id = o.instance_id and i.stopped_at is null))",
    )
    .bind(node.uuid())
    .bind(&ids)
    .execute(tx.executor())
    .await?;
    if ids.is_empty() {
        return Ok(false);
    }
    let services: Vec<Uuid> = alive.iter().map(|i| i.service_id.uuid()).collect();
    let item = |instance: &&InstanceReport| instance.item.clone();
    let items: Vec<Option<StoredItem>> = alive.iter().map(item).collect();
    let json: Vec<Option<&str>> = items
        .iter()
        .map(|i| i.as_ref().map(|i| i.json.as_str()))
        .collect();
    let sha256: Vec<Option<&str>> = items
        .iter()
        .map(|i| i.as_ref().map(|i| i.sha256.as_str()))
        .collect();
    let orphaned: Vec<bool> = alive.iter().map(|i| i.orphaned).collect();
    let new: Vec<Uuid> = sqlx::query_scalar(
        "insert into orphan_instance as o (node_id, instance_id, service_id, json, sha256, let_go_at)
         select $1, r.id, r.service_id, r.json, r.sha256, case when i.id is not null then now() end
         from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bool[])
            as r (id, service_id, json, sha256, orphaned)
         left join instance i on i.id = r.id
         where i.id is null or (i.stopped_at is not null and r.sha256 is not null)
            or (r.orphaned and i.stopped_at < now() - make_interval(secs => $7))
         on conflict (node_id, instance_id) do update set json = excluded.json, sha256 = excluded.sha256
            where o.sha256 is distinct from excluded.sha256 and excluded.sha256 is not null
         returning service_id",
    )
    .bind(node.uuid())
    .bind(&ids)
    .bind(services)
    .bind(json)
    .bind(sha256)
    .bind(orphaned)
    .bind(ENDS_WITHIN.as_secs_f64())
    .fetch_all(tx.executor())
    .await?;
    ask_about(tx, &new).await?;
    tell_again(tx, node, &alive).await?;
    Ok(!new.is_empty())
}

/// What was let go and its node keeps although it has read so: in an epoch's first document, which ends nothing. What no
/// document of the node ever had (it has lost its disk) may be on its way out by then: a minute later it is not.
async fn tell_again(
    tx: &mut SystemTx,
    node: NodeId,
    alive: &[&InstanceReport],
) -> Result<(), Error> {
    let ids = |is_meant: fn(&InstanceReport) -> bool| -> Vec<Uuid> {
        let meant = alive.iter().filter(|instance| is_meant(instance));
        meant.map(|instance| instance.id.uuid()).collect()
    };
    let kept = ids(|instance| instance.item.is_some());
    let unknown = ids(|instance| instance.item.is_none() && instance.orphaned);
    if kept.is_empty() && unknown.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update orphan_instance o set let_go_at = now() from feed_tombstone t, node_feed f, platform p
         where o.node_id = $1 and f.node_id = $1 and f.feed = $3 and f.epoch = p.epoch
           and (o.instance_id = any($2)
                or o.instance_id = any($4) and t.created_at < now() - make_interval(secs => $5))
           and t.feed = $3 and t.id = 'instance/ins_' || replace(o.instance_id::text, '-', '')
           and t.created_at >= o.let_go_at and t.generation <= f.generation",
    )
    .bind(node.uuid())
    .bind(kept)
    .bind(FeedName::Node(node).to_string())
    .bind(unknown)
    .bind(ENDS_WITHIN.as_secs_f64())
    .execute(tx.executor())
    .await?;
    Ok(())
}

async fn ask_about(tx: &mut SystemTx, services: &[Uuid]) -> Result<(), Error> {
    let known: Vec<(Uuid, Uuid)> =
        sqlx::query_as("select organization_id, id from service where id = any($1) order by id")
            .bind(services)
            .fetch_all(tx.executor())
            .await?;
    for (organization, service) in known {
        evaluation::request(tx, organization.into(), service.into(), "orphan").await?;
    }
    Ok(())
}

/// The orphans of a service.
pub async fn of_service(
    tx: &mut SystemTx,
    service: ServiceId,
) -> Result<Vec<(NodeId, InstanceId)>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select node_id, instance_id from orphan_instance where service_id = $1 order by node_id",
    )
    .bind(service.uuid())
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(node, instance)| (node.into(), instance.into()))
        .collect())
}

/// Feeds of regions that have no item of the service, and of which an edge keeps items that they lack.
pub async fn kept_routes(tx: &mut SystemTx, service: ServiceId) -> Result<Vec<FeedName>, Error> {
    let feeds: Vec<String> = sqlx::query_scalar(
        "select distinct f.feed from node_feed f join node n on n.id = f.node_id
         where f.feed like 'routes/region/%' and f.held_drops > 0 and n.denied_at is null
           and not exists (select 1 from feed_item i where i.feed = f.feed and i.id = $1)
         order by f.feed",
    )
    .bind(service_item_id(service))
    .fetch_all(tx.executor())
    .await?;
    feeds.iter().map(|feed| feed::name_of(feed)).collect()
}

/// An orphan that may be taken back.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub instance: InstanceId,
    pub node: NodeId,
    pub region: String,
    pub item: Option<StoredItem>,
}

#[derive(FromRow)]
struct CandidateRow {
    instance_id: Uuid,
    node_id: Uuid,
    region: String,
    json: Option<String>,
    sha256: Option<String>,
}

/// The orphans of a service that nobody has let go, on nodes that are still ours. One that its node told of while it
/// was taken back is none, though its row is there until the next report.
pub async fn candidates(tx: &mut SystemTx, service: ServiceId) -> Result<Vec<Candidate>, Error> {
    let rows: Vec<CandidateRow> = sqlx::query_as(
        "select o.instance_id, o.node_id, region.name as region, o.json, o.sha256
         from orphan_instance o join node n on n.id = o.node_id join region on region.id = n.region_id
         where o.service_id = $1 and o.let_go_at is null and n.denied_at is null and n.fenced_at is null
           and not exists (select 1 from instance i where i.id = o.instance_id)
         order by o.instance_id",
    )
    .bind(service.uuid())
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Candidate {
            instance: row.instance_id.into(),
            node: row.node_id.into(),
            region: row.region,
            item: row
                .json
                .zip(row.sha256)
                .map(|(json, sha256)| StoredItem { json, sha256 }),
        })
        .collect())
}

/// Says why it is not taken back.
pub async fn keep(tx: &mut SystemTx, instance: InstanceId, reason: &str) -> Result<(), Error> {
    sqlx::query(
        "update orphan_instance set reason = $2 where instance_id = $1 and reason is distinct from $2",
    )
    .bind(instance.uuid())
    .bind(reason)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Makes an instance of it. What it reserves counts whether there is room or not: it runs already.
pub async fn adopt(
    tx: &mut SystemTx,
    service: &Service,
    id: InstanceId,
    placement: &Placement,
) -> Result<(), Error> {
    let (cpu, memory) = placement::columns(placement.resources)?;
    let region: Uuid = sqlx::query_scalar(
        "update node set reserved_cpu_millis = reserved_cpu_millis + $2,
            reserved_memory_bytes = reserved_memory_bytes + $3, revision = revision + 1
         where id = $1 returning region_id",
    )
    .bind(placement.node_id.uuid())
    .bind(cpu)
    .bind(memory)
    .fetch_one(tx.executor())
    .await?;
    placement::insert(tx, id, service, placement, region.into(), Purpose::Serve).await?;
    sqlx::query("delete from orphan_instance where instance_id = $1")
        .bind(id.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}

/// An operator lets it go; false when there is no such orphan.
pub async fn let_go(tx: &mut impl Write, instance: InstanceId) -> Result<bool, Error> {
    let query = sqlx::query(
        "update orphan_instance set let_go_at = coalesce(let_go_at, now()) where instance_id = $1",
    )
    .bind(instance.uuid());
    query::changed(tx, query).await
}

/// None of the service's orphans is needed: another deployment of it serves, or it is deleted.
pub async fn let_go_of_service(tx: &mut SystemTx, service: ServiceId) -> Result<(), Error> {
    sqlx::query(
        "update orphan_instance set let_go_at = now() where service_id = $1 and let_go_at is null",
    )
    .bind(service.uuid())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Those that were let go and whose nodes were not told yet.
pub async fn going(tx: &mut SystemTx) -> Result<Vec<(NodeId, InstanceId)>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select node_id, instance_id from orphan_instance o
         where let_go_at is not null and not exists (
            select 1 from feed_tombstone t
            where t.feed = 'node/nod_' || replace(o.node_id::text, '-', '')
              and t.id = 'instance/ins_' || replace(o.instance_id::text, '-', '')
              and t.created_at >= o.let_go_at)
         order by node_id",
    )
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(node, instance)| (node.into(), instance.into()))
        .collect())
}

/// A page of them, for operators.
pub async fn list(tx: &mut impl Access, paging: Paging) -> Result<Page<Orphan>, Error> {
    let query = sqlx::query(
        "select o.instance_id, o.node_id, n.name as node, region.name as region, o.service_id, s.name as service,
            s.organization_id, o.seen_at, o.let_go_at,
            case when s.id is null then 'this database knows no such service' else o.reason end as reason
         from orphan_instance o join node n on n.id = o.node_id join region on region.id = n.region_id
         left join service s on s.id = o.service_id
         where ($1::uuid is null or o.instance_id > $1) order by o.instance_id limit $2",
    );
    query::page(tx, query, paging, orphan, |orphan| {
        orphan.instance_id.uuid()
    })
    .await
}

fn orphan(row: &PgRow) -> Result<Orphan, Error> {
    let service: Option<String> = row.value("service")?;
    let service = service.map(|name| name.parse()).transpose();
    Ok(Orphan {
        instance_id: row.id("instance_id")?,
        node_id: row.id("node_id")?,
        node: row.parsed("node")?,
        region: row.parsed("region")?,
        service_id: row.id("service_id")?,
        service: service.map_err(|error| Error::corrupt("name", error))?,
        organization_id: row.id_opt("organization_id")?,
        reason: row.value("reason")?,
        seen_at: row.value("seen_at")?,
        let_go_at: row.value("let_go_at")?,
    })
}
