//! How the platform fares, for its operators: reconcilers, feeds, nodes, and what waits.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use api::platform::{Backlog, FeedStatus, NodeHealth, ReconcilerStatus, RegistryStatus};
use domain::name::Name;

use super::{
    Error,
    row::Columns as _,
    tx::{Access, SystemTx},
};

/// Notes how a reconciler's turn went; `error` of one that failed.
pub async fn note_turn(
    tx: &mut SystemTx,
    name: &str,
    holder: Uuid,
    period_seconds: i64,
    error: Option<&str>,
) -> Result<(), Error> {
    sqlx::query(
        "insert into reconciler as r (name, holder, period_seconds, succeeded_at, failed_at, error)
         values ($1, $2, $3, case when $4::text is null then now() end, case when $4 is not null then now() end, $4)
         on conflict (name) do update set holder = excluded.holder, period_seconds = excluded.period_seconds,
             succeeded_at = coalesce(excluded.succeeded_at, r.succeeded_at),
             failed_at = coalesce(excluded.failed_at, r.failed_at), error = excluded.error",
    )
    .bind(name)
    .bind(holder)
    .bind(period_seconds)
    .bind(error)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// The database's time and the platform's epoch.
pub async fn now(tx: &mut SystemTx) -> Result<(DateTime<Utc>, i64), Error> {
    let row = sqlx::query("select now() as at, epoch from platform")
        .fetch_one(tx.executor())
        .await?;
    Ok((row.value("at")?, row.value("epoch")?))
}

/// Regions that may be used.
pub async fn regions(tx: &mut SystemTx) -> Result<Vec<Name>, Error> {
    let rows = sqlx::query("select name from region where enabled order by name")
        .fetch_all(tx.executor())
        .await?;
    rows.iter().map(|row| row.parsed("name")).collect()
}

/// All reconcilers that ever ran.
pub async fn reconcilers(tx: &mut SystemTx) -> Result<Vec<ReconcilerStatus>, Error> {
    let rows = sqlx::query(
        "select r.*, (select max(l.expires_at) from lease l where l.holder = r.holder
             and starts_with(l.name, 'reconcile/' || r.name || '@') and l.expires_at > now()) as lease_expires_at
         from reconciler r order by r.name",
    )
    .fetch_all(tx.executor())
    .await?;
    rows.iter().map(reconciler).collect()
}

fn reconciler(row: &PgRow) -> Result<ReconcilerStatus, Error> {
    Ok(ReconcilerStatus {
        name: row.value("name")?,
        holder: row.value("holder")?,
        lease_expires_at: row.value("lease_expires_at")?,
        period_seconds: row.value("period_seconds")?,
        succeeded_at: row.value("succeeded_at")?,
        failed_at: row.value("failed_at")?,
        error: row.value("error")?,
    })
}

/// All feeds, with how many of their followers are behind.
pub async fn feeds(tx: &mut SystemTx) -> Result<Vec<FeedStatus>, Error> {
    let rows = sqlx::query(
        "select f.name, f.generation, f.count, f.updated_at, count(nf.node_id) as followers,
             count(nf.node_id) filter (where nf.generation < f.generation or nf.epoch < p.epoch) as behind
         from feed f cross join platform p
         left join node_feed nf on nf.feed = f.name
             and exists (select 1 from node n where n.id = nf.node_id and n.denied_at is null)
         group by f.name, p.epoch order by f.name",
    )
    .fetch_all(tx.executor())
    .await?;
    rows.iter().map(feed).collect()
}

fn feed(row: &PgRow) -> Result<FeedStatus, Error> {
    Ok(FeedStatus {
        name: row.value("name")?,
        generation: row.value("generation")?,
        items: row.value("count")?,
        changed_at: row.value("updated_at")?,
        followers: row.value("followers")?,
        behind: row.value("behind")?,
    })
}

/// All nodes that were not expelled.
pub async fn nodes(tx: &mut SystemTx) -> Result<Vec<NodeHealth>, Error> {
    let rows = sqlx::query(
        "select n.name, r.name as region, n.role, n.schedulable and not n.draining as schedulable, n.draining,
             n.fenced_at is not null as fenced,
             n.certificate_not_after, s.reported_at, s.late_since, coalesce(h.held, 0)::bigint as held_drops,
             coalesce(h.behind, '{}') as behind
         from node n join region r on r.id = n.region_id
         left join node_status s on s.node_id = n.id
         left join lateral (
             select sum(nf.held_drops) as held, array_agg(nf.feed order by nf.feed) filter (
                 where (nf.generation < f.generation or nf.epoch < p.epoch)
                     and f.updated_at < now() - interval '30 seconds') as behind
             from node_feed nf join feed f on f.name = nf.feed cross join platform p where nf.node_id = n.id
         ) h on true
         where n.denied_at is null order by r.name, n.name",
    )
    .fetch_all(tx.executor())
    .await?;
    rows.iter().map(node).collect()
}

fn node(row: &PgRow) -> Result<NodeHealth, Error> {
    Ok(NodeHealth {
        name: row.parsed("name")?,
        region: row.parsed("region")?,
        role: super::node_role(row.value("role")?)?,
        schedulable: row.value("schedulable")?,
        draining: row.value("draining")?,
        fenced: row.value("fenced")?,
        reported_at: row.value("reported_at")?,
        late_since: row.value("late_since")?,
        certificate_not_after: row.value("certificate_not_after")?,
        held_drops: row.value("held_drops")?,
        behind: row.value("behind")?,
    })
}

/// What waits.
pub async fn backlog(tx: &mut SystemTx) -> Result<Backlog, Error> {
    let row = sqlx::query(
        "select
             count(*) filter (where dead_at is null and run_at <= now()) as jobs_due,
             coalesce(extract(epoch from now() - min(run_at) filter (where dead_at is null and run_at <= now())), 0)::bigint
                 as oldest_job_seconds,
             count(*) filter (where dead_at is not null) as jobs_dead,
             (select count(*) from deployment where finished_at is null) as deployments,
             (select count(distinct service_id) from evaluation where state = 'blocked') as services_without_room,
             (select count(*) from workflow where finished_at is null and failures >= 3) as workflows_failing,
             (select count(*) from orphan_instance) as orphans,
             (select coalesce(problem, 'no reason was given') from rollout where state = 'stopped') as rollout_stopped,
             (select count(*) from domain_certificate c join domain d on d.id = c.domain_id
              where d.verified_at is not null and d.tls <> 'uploaded'
                and c.not_after < now() + least(interval '7 days', (c.not_after - c.not_before) / 10))
                 as certificates_ending,
             (select min(o.problem_message) from certificate_order o join domain_certificate c on c.domain_id = o.domain_id
              where c.not_after < now() + least(interval '7 days', (c.not_after - c.not_before) / 10)) as certificate_problem
         from job",
    )
    .fetch_one(tx.executor())
    .await?;
    Ok(Backlog {
        jobs_due: row.value("jobs_due")?,
        oldest_job_seconds: row.value("oldest_job_seconds")?,
        jobs_dead: row.value("jobs_dead")?,
        deployments: row.value("deployments")?,
        services_without_room: row.value("services_without_room")?,
        workflows_failing: row.value("workflows_failing")?,
        orphans: row.value("orphans")?,
        rollout_stopped: row.value("rollout_stopped")?,
        certificates_ending: row.value("certificates_ending")?,
        certificate_problem: row.value("certificate_problem")?,
    })
}

/// What punctual nodes say of the registry: their instances now, and the builds since it last took one.
pub async fn registry(tx: &mut SystemTx) -> Result<RegistryStatus, Error> {
    let row = sqlx::query(
        "with instances as (
            select i.node_id, t.problem_message from instance_status t join instance i on i.id = t.instance_id
                join node_status s on s.node_id = i.node_id
            where t.problem_code in ('image_pull_failed', 'image_missing') and i.stopped_at is null
              and s.late_since is null
         ), builds as (
            select b.problem_message from build b
            where b.problem_code in ('registry_unavailable', 'push_failed', 'push_refused')
              and b.finished_at > now() - interval '1 hour'
              and not exists (
                select 1 from build later where later.state = 'succeeded' and later.finished_at > b.finished_at)
         )
         select (select count(*) from instances) as instances_without_image,
             (select count(distinct node_id) from instances) as nodes_without_image,
             (select count(*) from builds) as builds_failed,
             coalesce((select min(problem_message) from instances), (select min(problem_message) from builds)) as problem",
    )
    .fetch_one(tx.executor())
    .await?;
    Ok(RegistryStatus {
        instances_without_image: row.value("instances_without_image")?,
        nodes_without_image: row.value("nodes_without_image")?,
        builds_failed: row.value("builds_failed")?,
        problem: row.value("problem")?,
    })
}
