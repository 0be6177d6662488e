//! A node's report into the columns of observation, in a handful of statements whatever its size.

mod builds;
mod instances;
mod requests;

use std::collections::BTreeMap;

use domain::{generation::Position, id::NodeId};
use protocol::{
    feed::FeedName,
    report::{AgentReport, Report, RoleReport},
};

use uuid::Uuid;

use super::{
    Error, feed, fence, orphan,
    tx::{Access as _, SystemTx},
};

/// What a report has changed, so that the right reconcilers are woken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noticed {
    /// The node is new, has come back, or offers something else.
    pub capacity: bool,
    /// Its address is new, or it is fenced no more.
    pub address: bool,
    /// It has applied a newer generation.
    pub applied: bool,
    /// An instance's state, readiness or address.
    pub instances: bool,
    /// A build's state.
    pub builds: bool,
    /// It runs what the plan does not know.
    pub orphans: bool,
    /// It makes what its feed has not, and its feed says so now.
    pub let_go: bool,
}

/// Stores a report; none when a newer one of this boot, or one of a newer boot, is stored already. The
/// last eight boots are known: a report may have lain in a replica that was stopped for a while. One of a
/// boot that was over before it was known takes the row over; it is silent then, and the living one
/// takes it back.
pub async fn store(
    tx: &mut SystemTx,
    node: NodeId,
    protocol: i32,
    report: &Report,
) -> Result<Option<Noticed>, Error> {
    let Some(mut noticed) = store_status(tx, node, protocol, report).await? else {
        return Ok(None);
    };
    noticed.applied = store_feeds(tx, node, report).await?;
    match &report.role {
        RoleReport::Agent(agent) => {
            noticed.orphans = orphan::replace(tx, node, &agent.instances).await?;
            noticed.instances = instances::store(tx, node, &agent.instances).await?;
            noticed.builds = builds::store(tx, node, &agent.builds).await?;
            if fence::lift(tx, node, agent).await? {
                tracing::warn!(%node, "a fenced node is back and runs nothing of before: it is cordoned");
                noticed.address = true;
            }
            noticed.let_go = builds::let_go(tx, node, &report.feeds, &agent.builds).await?;
        }
        RoleReport::Edge(edge) => requests::count(tx, node, &report.boot_id, edge).await?,
    }
    Ok(Some(noticed))
}

type Previous = (bool, Option<String>, i64, i64);

async fn store_status(
    tx: &mut SystemTx,
    node: NodeId,
    protocol: i32,
    report: &Report,
) -> Result<Option<Noticed>, Error> {
    let previous: Option<Previous> = sqlx::query_as(
        "select late_since is not null, address, cpu_millis, memory_bytes
         from node_status where node_id = $1 for update",
    )
    .bind(node.uuid())
    .fetch_optional(tx.executor())
    .await?;
    let offers = Offers::of(&report.role)?;
    let stored = sqlx::query(
        "insert into node_status as s (node_id, boot_id, sequence, protocol, binary_version, cpu_millis,
            memory_bytes, used_cpu_millis, used_memory_bytes, address, public_address, requests, failed_requests,
            unrouted_requests, items_refused, kept_services, kept_environments, reported_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, now())
         on conflict (node_id) do update set
            previous_boot_id = case when s.boot_id = excluded.boot_id then s.previous_boot_id
                else left(concat_ws(' ', s.boot_id, s.previous_boot_id), 263) end,
            boot_id = excluded.boot_id, sequence = excluded.sequence, protocol = excluded.protocol,
            binary_version = excluded.binary_version, cpu_millis = excluded.cpu_millis,
            memory_bytes = excluded.memory_bytes, used_cpu_millis = excluded.used_cpu_millis,
            used_memory_bytes = excluded.used_memory_bytes, address = excluded.address,
            public_address = excluded.public_address, requests = excluded.requests,
            failed_requests = excluded.failed_requests, unrouted_requests = excluded.unrouted_requests,
            items_refused = excluded.items_refused,
            kept_services = excluded.kept_services, kept_environments = excluded.kept_environments,
            reported_at = now(), late_since = null
         where case when s.boot_id = excluded.boot_id then s.sequence < excluded.sequence
                    else strpos(coalesce(s.previous_boot_id, ''), excluded.boot_id) = 0
                        or s.reported_at < now() - interval '30 seconds' end",
    )
    .bind(node.uuid())
    .bind(&report.boot_id)
    .bind(signed(report.sequence)?)
    .bind(protocol)
    .bind(&report.version)
    .bind(offers.cpu)
    .bind(offers.memory)
    .bind(offers.used_cpu)
    .bind(offers.used_memory)
    .bind(&offers.address)
    .bind(&offers.public_address)
    .bind(offers.traffic[0])
    .bind(offers.traffic[1])
    .bind(offers.traffic[2])
    .bind(offers.traffic[3])
    .bind(offers.kept.as_ref().map(|(services, _)| services))
    .bind(offers.kept.as_ref().map(|(_, environments)| environments))
    .execute(tx.executor())
    .await?;
    Ok((stored.rows_affected() == 1).then(|| offers.compared_with(previous)))
}

/// The columns that agents and edges fill differently.
struct Offers {
    cpu: i64,
    memory: i64,
    used_cpu: i64,
    used_memory: i64,
    address: String,
    public_address: Option<String>,
    traffic: [i64; 4],
    kept: Option<(Vec<Uuid>, Vec<Uuid>)>,
}

impl Offers {
    fn of(role: &RoleReport) -> Result<Self, Error> {
        Ok(match role {
            RoleReport::Agent(AgentReport {
                capacity,
                usage,
                address,
                kept,
                ..
            }) => Self {
                cpu: capacity.cpu.0.into(),
                memory: signed(capacity.memory.0)?,
                used_cpu: usage.cpu.0.into(),
                used_memory: signed(usage.memory.0)?,
                address: address.to_string(),
                public_address: None,
                traffic: [0; 4],
                kept: kept.as_ref().map(|kept| {
                    (
                        kept.services.iter().map(|id| id.uuid()).collect(),
                        kept.environments.iter().map(|id| id.uuid()).collect(),
                    )
                }),
            },
            RoleReport::Edge(edge) => Self {
                cpu: 0,
                memory: 0,
                used_cpu: 0,
                used_memory: 0,
                address: edge.forward_address.to_string(),
                public_address: Some(edge.public_address.to_string()),
                traffic: [
                    signed(edge.traffic.requests)?,
                    signed(edge.traffic.failed)?,
                    signed(edge.traffic.unrouted)?,
                    signed(edge.traffic.items_refused)?,
                ],
                kept: None,
            },
        })
    }

    fn compared_with(&self, previous: Option<Previous>) -> Noticed {
        let Some((late, address, cpu, memory)) = previous else {
            return Noticed {
                capacity: true,
                address: true,
                ..Noticed::default()
            };
        };
        Noticed {
            capacity: late || (cpu, memory) != (self.cpu, self.memory),
            address: address.as_deref() != Some(self.address.as_str()),
            ..Noticed::default()
        }
    }
}

async fn store_feeds(tx: &mut SystemTx, node: NodeId, report: &Report) -> Result<bool, Error> {
    let held = |feed: &FeedName| report.held.get(feed).copied().unwrap_or_default();
    let mut rows = (vec![], vec![], vec![], vec![], vec![]);
    for commit in &report.feeds {
        rows.0.push(commit.feed.to_string());
        rows.1.push(commit.epoch.0);
        rows.2.push(commit.generation.0);
        rows.3.push(commit.digest.clone());
        rows.4.push(signed(held(&commit.feed))?);
    }
    let changed = sqlx::query(
        "insert into node_feed as f (node_id, feed, epoch, generation, digest, held_drops)
         select $1, * from unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
         on conflict (node_id, feed) do update set epoch = excluded.epoch, generation = excluded.generation,
            digest = excluded.digest, held_drops = excluded.held_drops, applied_at = now()
         where (f.epoch, f.generation, f.held_drops)
            is distinct from (excluded.epoch, excluded.generation, excluded.held_drops)",
    )
    .bind(node.uuid())
    .bind(rows.0)
    .bind(rows.1)
    .bind(rows.2)
    .bind(rows.3)
    .bind(rows.4)
    .execute(tx.executor())
    .await?;
    if matches!(report.role, RoleReport::Edge(_)) {
        forget_other_rings(tx, node, report).await?;
    }
    Ok(changed.rows_affected() > 0)
}

/// An edge that has gone over to another ring does not follow the one before any more.
async fn forget_other_rings(tx: &mut SystemTx, node: NodeId, report: &Report) -> Result<(), Error> {
    let followed: Vec<String> = report.feeds.iter().map(|c| c.feed.to_string()).collect();
    let tiers: Vec<String> = report
        .feeds
        .iter()
        .map(|c| c.feed.tier().to_string())
        .collect();
    sqlx::query(
        "delete from node_feed where node_id = $1 and feed <> all($2) and split_part(feed, '@', 1) = any($3)",
    )
    .bind(node.uuid())
    .bind(followed)
    .bind(tiers)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Up to which position an operator lets the node's brake go.
pub async fn overrides(
    tx: &mut SystemTx,
    node: NodeId,
) -> Result<BTreeMap<FeedName, Position>, Error> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select feed, released_epoch, released_generation from node_feed
         where node_id = $1 and released_epoch is not null and released_generation is not null",
    )
    .bind(node.uuid())
    .fetch_all(tx.executor())
    .await?;
    feed::positions_of(rows)
}

fn signed(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|error| Error::corrupt("number in a report", error))
}
