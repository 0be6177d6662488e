//! Nodes as operators see and change them.

use std::collections::{BTreeMap, HashMap};

use sqlx::postgres::PgRow;
use uuid::Uuid;

use api::{
    node::{Node, NodeFeed, NodeResources, NodeRole, NodeStatus, UpdateNode},
    page::Page,
};
use domain::{
    id::NodeId,
    name::Name,
    quantity::{Bytes, MilliCpu},
    ring::Ring,
};

use super::{
    Connection, Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, Write},
};

macro_rules! select_node {
    ($rest:literal) => {
        concat!(
            "select n.id, n.name, r.name as region, n.role, n.schedulable, n.draining, n.ring,
                 n.denied_at is not null as denied, n.fenced_at is not null as fenced, n.certificate_not_after, n.reserved_cpu_millis,
                 n.reserved_memory_bytes, n.version, n.created_at, s.reported_at, s.late_since,
                 s.binary_version, s.cpu_millis, s.memory_bytes, s.used_cpu_millis,
                 s.used_memory_bytes, s.public_address
             from node n join region r on r.id = n.region_id
             left join node_status s on s.node_id = n.id ",
            $rest
        )
    };
}

fn node(row: &PgRow) -> Result<Node, Error> {
    let role = super::node_role(row.value("role")?)?;
    Ok(Node {
        id: row.id("id")?,
        name: row.parsed("name")?,
        region: row.parsed("region")?,
        role,
        schedulable: row.value("schedulable")?,
        draining: row.value("draining")?,
        denied: row.value("denied")?,
        fenced: row.value("fenced")?,
        ring: match role {
            NodeRole::Agent => None,
            NodeRole::Edge => Some(row.parsed("ring")?),
        },
        certificate_not_after: row.value("certificate_not_after")?,
        reserved: resources(row, "reserved_cpu_millis", "reserved_memory_bytes")?,
        status: status(row)?,
        version: row.value("version")?,
        created_at: row.value("created_at")?,
    })
}

fn status(row: &PgRow) -> Result<Option<NodeStatus>, Error> {
    let Some(reported_at) = row.value("reported_at")? else {
        return Ok(None);
    };
    Ok(Some(NodeStatus {
        reported_at,
        late_since: row.value("late_since")?,
        binary_version: row.value("binary_version")?,
        capacity: resources(row, "cpu_millis", "memory_bytes")?,
        usage: resources(row, "used_cpu_millis", "used_memory_bytes")?,
        public_address: row.value("public_address")?,
        feeds: BTreeMap::new(),
    }))
}

fn resources(row: &PgRow, cpu: &'static str, memory: &'static str) -> Result<NodeResources, Error> {
    let cpu_millis = row.value::<i64>(cpu)?;
    let memory_bytes = row.value::<i64>(memory)?;
    Ok(NodeResources {
        cpu: MilliCpu(u32::try_from(cpu_millis).map_err(|e| Error::corrupt(cpu, e))?),
        memory: Bytes(u64::try_from(memory_bytes).map_err(|e| Error::corrupt(memory, e))?),
    })
}

/// One node.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, id: NodeId) -> Result<Option<Node>, Error> {
    let row = sqlx::query(select_node!("where n.id = $1"))
        .bind(id.uuid())
        .fetch_optional(tx.executor())
        .await?;
    let mut found: Vec<Node> = row.iter().map(node).collect::<Result<_, _>>()?;
    add_feeds(tx.executor(), &mut found).await?;
    Ok(found.pop())
}

/// All nodes, or those of one region.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    region: Option<&Name>,
    paging: Paging,
) -> Result<Page<Node>, Error> {
    let query = sqlx::query(select_node!(
        "where ($1::text is null or r.name = $1) and ($2::uuid is null or n.id > $2)
         order by n.id limit $3"
    ))
    .bind(region.map(Name::as_str));
    let mut page = query::page(tx, query, paging, node, |n| n.id.uuid()).await?;
    add_feeds(tx.executor(), &mut page.items).await?;
    Ok(page)
}

async fn add_feeds(connection: Connection<'_>, nodes: &mut [Node]) -> Result<(), Error> {
    let ids: Vec<Uuid> = nodes.iter().map(|n| n.id.uuid()).collect();
    let rows = sqlx::query(
        "select node_id, feed, epoch, generation, held_drops from node_feed where node_id = any($1)",
    )
    .bind(&ids)
    .fetch_all(connection)
    .await?;
    let mut feeds: HashMap<Uuid, BTreeMap<String, NodeFeed>> = HashMap::new();
    for row in &rows {
        let feed = NodeFeed {
            epoch: row.value("epoch")?,
            generation: row.value("generation")?,
            held_drops: row.value("held_drops")?,
        };
        feeds
            .entry(row.value("node_id")?)
            .or_default()
            .insert(row.value("feed")?, feed);
    }
    for node in nodes {
        if let Some(status) = &mut node.status {
            status.feeds = feeds.remove(&node.id.uuid()).unwrap_or_default();
        }
    }
    Ok(())
}

/// Cordons, drains or moves to another ring; false when there is no such node, or the version is another one.
///
/// # Errors
/// When the database can't be reached.
pub async fn update(
    tx: &mut impl Write,
    id: NodeId,
    version: Option<i64>,
    change: &UpdateNode,
) -> Result<bool, Error> {
    let query = sqlx::query(
        "update node set schedulable = coalesce($3, schedulable), draining = coalesce($4, draining),
             ring = coalesce($5, ring), version = version + 1
         where id = $1 and ($2::bigint is null or version = $2)",
    )
    .bind(id.uuid())
    .bind(version)
    .bind(change.schedulable)
    .bind(change.draining)
    .bind(change.ring.map(Ring::as_str));
    query::changed(tx, query).await
}

/// Expels a node: its certificate is refused from now on and what it ran is replaced; false when
/// there is no such node.
///
/// # Errors
/// When the database can't be reached.
pub async fn deny(tx: &mut impl Write, id: NodeId) -> Result<bool, Error> {
    let query = sqlx::query(
        "update node set denied_at = coalesce(denied_at, now()), schedulable = false,
             draining = true, version = version + 1
         where id = $1",
    )
    .bind(id.uuid());
    query::changed(tx, query).await
}

/// Lets go what the node's brake holds of a feed, up to where the node has applied it; false when it
/// holds nothing. The node learns it in the answer to its next report.
///
/// # Errors
/// When the database can't be reached.
pub async fn release_held(tx: &mut impl Write, id: NodeId, feed: &str) -> Result<bool, Error> {
    let query = sqlx::query(
        "update node_feed set released_epoch = epoch, released_generation = generation
         where node_id = $1 and feed = $2 and held_drops > 0",
    )
    .bind(id.uuid())
    .bind(feed);
    query::changed(tx, query).await
}
