//! A node's report into the columns of observation, in a handful of statements whatever its size.

use std::collections::BTreeMap;

use domain::{
    generation::{Epoch, Generation, Position},
    id::NodeId,
};
use protocol::{
    feed::FeedName,
    report::{
        AgentReport, BuildReport, BuildState, EdgeReport, InstanceReport, Report, RoleReport,
    },
};
use uuid::Uuid;

use super::{
    Error, orphan,
    tx::{Access as _, SystemTx},
};

/// What a report has changed, so that the right reconcilers are woken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noticed {
    /// The node is new, has come back, or offers something else.
    pub capacity: bool,
    /// Its address is new.
    pub address: bool,
    /// It has applied a newer generation.
    pub applied: bool,
    /// An instance's state, readiness or address.
    pub instances: bool,
    /// A build's state.
    pub builds: bool,
}

/// Stores a report; none when a newer one of this boot, or one of a newer boot, is stored already.
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
            orphan::replace(tx, node, &agent.instances).await?;
            noticed.instances = store_instances(tx, node, &agent.instances).await?;
            noticed.builds = store_builds(tx, node, &agent.builds).await?;
        }
        RoleReport::Edge(edge) => count_requests(tx, node, &report.boot_id, edge).await?,
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
            memory_bytes, used_cpu_millis, used_memory_bytes, address, public_address, reported_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now())
         on conflict (node_id) do update set
            previous_boot_id = case when s.boot_id = excluded.boot_id then s.previous_boot_id else s.boot_id end,
            boot_id = excluded.boot_id, sequence = excluded.sequence, protocol = excluded.protocol,
            binary_version = excluded.binary_version, cpu_millis = excluded.cpu_millis,
            memory_bytes = excluded.memory_bytes, used_cpu_millis = excluded.used_cpu_millis,
            used_memory_bytes = excluded.used_memory_bytes, address = excluded.address,
            public_address = excluded.public_address, reported_at = now(), late_since = null
         where case when s.boot_id = excluded.boot_id then s.sequence < excluded.sequence
                    else s.previous_boot_id is distinct from excluded.boot_id end",
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
}

impl Offers {
    fn of(role: &RoleReport) -> Result<Self, Error> {
        Ok(match role {
            RoleReport::Agent(AgentReport {
                capacity,
                usage,
                address,
                ..
            }) => Self {
                cpu: capacity.cpu.0.into(),
                memory: signed(capacity.memory.0)?,
                used_cpu: usage.cpu.0.into(),
                used_memory: signed(usage.memory.0)?,
                address: address.to_string(),
                public_address: None,
            },
            RoleReport::Edge(edge) => Self {
                cpu: 0,
                memory: 0,
                used_cpu: 0,
                used_memory: 0,
                address: edge.forward_address.to_string(),
                public_address: Some(edge.public_address.to_string()),
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
    Ok(changed.rows_affected() > 0)
}

/// One row per reported instance, as arrays for `unnest`.
#[derive(Default)]
struct Instances {
    ids: Vec<Uuid>,
    states: Vec<i16>,
    ready: Vec<bool>,
    restarts: Vec<i32>,
    addresses: Vec<Option<String>>,
    digests: Vec<Option<String>>,
    exit_codes: Vec<Option<i64>>,
    problem_codes: Vec<Option<String>>,
    problem_messages: Vec<Option<String>>,
    cpu: Vec<i64>,
    memory: Vec<i64>,
    received: Vec<i64>,
    sent: Vec<i64>,
}

impl Instances {
    fn push(&mut self, instance: &InstanceReport) -> Result<(), Error> {
        let problem = instance.problem.as_ref();
        self.ids.push(instance.id.uuid());
        self.states.push(instance.state.number());
        self.ready.push(instance.ready);
        self.restarts
            .push(i32::try_from(instance.restarts).unwrap_or(i32::MAX));
        self.addresses
            .push(instance.address.map(|address| address.to_string()));
        self.digests.push(instance.image_digest.clone());
        self.exit_codes.push(instance.exit_code);
        self.problem_codes
            .push(problem.map(|problem| problem.code.clone()));
        self.problem_messages
            .push(problem.map(|problem| problem.message.clone()));
        self.cpu.push(instance.usage.cpu.0.into());
        self.memory.push(signed(instance.usage.memory.0)?);
        self.received.push(signed(instance.usage.received.0)?);
        self.sent.push(signed(instance.usage.sent.0)?);
        Ok(())
    }
}

/// Only instances that the plan has on this node are touched, and a state never goes back.
async fn store_instances(
    tx: &mut SystemTx,
    node: NodeId,
    instances: &[InstanceReport],
) -> Result<bool, Error> {
    let mut rows = Instances::default();
    for instance in instances {
        rows.push(instance)?;
    }
    let changed: i64 = sqlx::query_scalar(
        "with reported as (
            select r.* from unnest($2::uuid[], $3::smallint[], $4::boolean[], $5::integer[], $6::text[],
                $7::text[], $8::bigint[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[],
                $14::bigint[]) as r (id, state, ready, restarts, address, image_digest, exit_code,
                problem_code, problem_message, cpu_millis, memory_bytes, received_bytes, sent_bytes)
            join instance i on i.id = r.id and i.node_id = $1
         ), changed as (
            select r.id from reported r join instance_status s on s.instance_id = r.id
            where s.state <= r.state and
                (s.state, s.ready, s.restarts, s.address, s.image_digest, s.exit_code, s.problem_code)
                is distinct from
                (r.state, r.ready, r.restarts, r.address, r.image_digest, r.exit_code, r.problem_code)
         ), stored as (
            update instance_status s set state = r.state, ready = r.ready, restarts = r.restarts,
                address = r.address, image_digest = r.image_digest, exit_code = r.exit_code,
                problem_code = r.problem_code, problem_message = r.problem_message,
                cpu_millis = r.cpu_millis, memory_bytes = r.memory_bytes,
                received_bytes = r.received_bytes, sent_bytes = r.sent_bytes, reported_at = now()
            from reported r where s.instance_id = r.id and s.state <= r.state
         )
         select count(*) from changed",
    )
    .bind(node.uuid())
    .bind(rows.ids)
    .bind(rows.states)
    .bind(rows.ready)
    .bind(rows.restarts)
    .bind(rows.addresses)
    .bind(rows.digests)
    .bind(rows.exit_codes)
    .bind(rows.problem_codes)
    .bind(rows.problem_messages)
    .bind(rows.cpu)
    .bind(rows.memory)
    .bind(rows.received)
    .bind(rows.sent)
    .fetch_one(tx.executor())
    .await?;
    Ok(changed > 0)
}

/// A build that was given to another node meanwhile is not touched, nor is one that has ended.
async fn store_builds(
    tx: &mut SystemTx,
    node: NodeId,
    builds: &[BuildReport],
) -> Result<bool, Error> {
    let mut changed = 0;
    for build in builds {
        let row = BuildRow::of(&build.state)?;
        let stored = sqlx::query(
            "update build set state = $3, problem_code = $4, problem_message = $5, digest = $6,
                size_bytes = $7, commit_sha = $8, commit_title = $9, commit_author = $10,
                started_at = coalesce($11, started_at), finished_at = case when $12 then now() end
             where id = $1 and node_id = $2 and finished_at is null
               and (state, $12::boolean) is distinct from ($3, false)",
        )
        .bind(build.id.uuid())
        .bind(node.uuid())
        .bind(row.state)
        .bind(row.problem_code)
        .bind(row.problem_message)
        .bind(row.digest)
        .bind(row.size)
        .bind(row.commit_sha)
        .bind(row.commit_title)
        .bind(row.commit_author)
        .bind(build.started_at)
        .bind(row.finished)
        .execute(tx.executor())
        .await?;
        changed += stored.rows_affected();
    }
    Ok(changed > 0)
}

#[derive(Default)]
struct BuildRow<'a> {
    state: &'static str,
    finished: bool,
    problem_code: Option<&'a str>,
    problem_message: Option<&'a str>,
    digest: Option<&'a str>,
    size: Option<i64>,
    commit_sha: Option<&'a str>,
    commit_title: Option<&'a str>,
    commit_author: Option<&'a str>,
}

impl<'a> BuildRow<'a> {
    fn of(state: &'a BuildState) -> Result<Self, Error> {
        let at_work = |state| Self {
            state,
            ..Self::default()
        };
        Ok(match state {
            BuildState::Waiting => at_work("waiting"),
            BuildState::Fetching => at_work("fetching"),
            BuildState::Building => at_work("building"),
            BuildState::Pushing => at_work("pushing"),
            BuildState::Succeeded(result) => Self {
                state: "succeeded",
                finished: true,
                digest: Some(&result.digest),
                size: Some(signed(result.size.0)?),
                commit_sha: result.commit.as_ref().map(|commit| commit.sha.as_str()),
                commit_title: result.commit.as_ref().map(|commit| commit.title.as_str()),
                commit_author: result.commit.as_ref().map(|commit| commit.author.as_str()),
                ..Self::default()
            },
            BuildState::Failed { problem } => Self {
                state: "failed",
                finished: true,
                problem_code: Some(&problem.code),
                problem_message: Some(&problem.message),
                ..Self::default()
            },
        })
    }
}

/// Adds what an edge has counted since its last report to the deployment that is changing the
/// service (or has just done so): what failed during a change is that change's.
async fn count_requests(
    tx: &mut SystemTx,
    node: NodeId,
    boot_id: &str,
    edge: &EdgeReport,
) -> Result<(), Error> {
    let mut rows = (vec![], vec![], vec![]);
    for (deployment, counts) in &edge.deployments {
        rows.0.push(deployment.uuid());
        rows.1.push(signed(counts.requests)?);
        rows.2.push(signed(counts.failed)?);
    }
    sqlx::query(
        "with reported as (
            select * from unnest($3::uuid[], $4::bigint[], $5::bigint[]) as r (deployment_id, requests, failed)
         ), grown as (
            select r.deployment_id,
                r.requests - case when c.boot_id = $2 then least(c.requests, r.requests) else 0 end as requests,
                r.failed - case when c.boot_id = $2 then least(c.failed, r.failed) else 0 end as failed
            from reported r left join edge_request_count c on c.node_id = $1 and c.deployment_id = r.deployment_id
         ), kept as (
            insert into edge_request_count (node_id, deployment_id, boot_id, requests, failed)
            select $1, deployment_id, $2, requests, failed from reported
            on conflict (node_id, deployment_id) do update set boot_id = excluded.boot_id,
                requests = excluded.requests, failed = excluded.failed
         ), sums as (
            select changing.id, sum(g.requests)::bigint as requests, sum(g.failed)::bigint as failed
            from grown g join deployment d on d.id = g.deployment_id
            join lateral (
                select t.id from deployment t
                where t.service_id = d.service_id and t.organization_id = d.organization_id
                  and t.state not in ('queued', 'building', 'releasing', 'canceled', 'superseded')
                  and (t.finished_at is null or t.finished_at > now() - interval '60 seconds')
                order by t.number desc limit 1
            ) changing on true
            where g.requests > 0 or g.failed > 0 group by changing.id
         )
         update deployment set requests = deployment.requests + sums.requests,
            failed_requests = deployment.failed_requests + sums.failed
         from sums where deployment.id = sums.id",
    )
    .bind(node.uuid())
    .bind(boot_id)
    .bind(rows.0)
    .bind(rows.1)
    .bind(rows.2)
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
    rows.into_iter()
        .map(|(feed, epoch, generation)| {
            let feed = feed
                .parse()
                .map_err(|error| Error::corrupt("feed", error))?;
            let position = Position {
                epoch: Epoch(epoch),
                generation: Generation(generation),
            };
            Ok((feed, position))
        })
        .collect()
}

fn signed(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|error| Error::corrupt("number in a report", error))
}
