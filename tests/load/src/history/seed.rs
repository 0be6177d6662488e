//! A year's rows by sets. Deployments are all there; what hangs on each of them (build, release, steps) is there
//! for the newest tenth, because all of it would be some 40 GiB.

use anyhow::{Context as _, Result};
use domain::id::EnvironmentId;
use sqlx::PgPool;

const SERVICES: i64 = 1_000;
/// Of a statement: a transaction of all would keep all of its log.
const BATCH: i64 = 500_000;

/// When the nth of all was, and an id of that time: the same in every statement.
const FUNCTIONS: &str = "
    select set_config('seed.end', now()::text, false);
    create function pg_temp.moment(n bigint, total bigint) returns timestamptz language sql stable
        return current_setting('seed.end')::timestamptz - interval '365 days' * (1 - n::float8 / total);
    create function pg_temp.id(kind text, n bigint, at timestamptz) returns uuid language sql stable
        return (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7'
            || substr(md5(kind || n), 1, 3) || '8' || substr(md5(kind || n), 4, 15))::uuid";

const SERVICE: &str = "
    insert into service (id, organization_id, environment_id, name, spec)
    select pg_temp.id('service', n, now() - interval '366 days'), organization_id, id, 'old-' || n,
        '{\"network\": {\"port\": 8080}}'
    from environment, generate_series(0, $2 - 1) as n where id = $1";

const DEPLOYMENT: &str = "
    insert into deployment (id, organization_id, service_id, number, source, spec, reason, state, release_id,
        created_at, state_since, finished_at)
    select pg_temp.id('deployment', n, at), s.organization_id, s.id, n / $4 + 1,
        '{\"from\": \"git\", \"repo\": \"r\", \"root\": \"/\"}', '{}', 'deploy', 'live',
        case when n >= $3 - $3 / 10 then pg_temp.id('release', n, at) end, at, at, at + interval '8 seconds'
    from generate_series($1::bigint, $2 - 1) as n
    cross join lateral (select pg_temp.moment(n, $3) as at) m
    join seeded s on s.turn = n % $4";

const RELEASE: &str = "
    insert into release (id, organization_id, service_id, number, image, spec, variables, content_digest,
        build_id, commit_sha, created_at)
    select pg_temp.id('release', n, at), s.organization_id, s.id, n / $4 + 1, 'r:5000/a@sha256:' || repeat('0', 64),
        '{}', '{}', '', pg_temp.id('build', n, at), repeat('c', 40), at
    from generate_series($1::bigint, $2 - 1) as n
    cross join lateral (select pg_temp.moment(n, $3) as at) m
    join seeded s on s.turn = n % $4";

const BUILD: &str = "
    insert into build (id, organization_id, service_id, deployment_id, source, state, digest, size_bytes,
        commit_sha, started_at, finished_at, created_at)
    select pg_temp.id('build', n, at), s.organization_id, s.id, pg_temp.id('deployment', n, at), '{}', 'succeeded',
        'sha256:' || repeat('0', 64), 1, repeat('c', 40), at, at, at
    from generate_series($1::bigint, $2 - 1) as n
    cross join lateral (select pg_temp.moment(n, $3) as at) m
    join seeded s on s.turn = n % $4";

const STEP: &str = "
    insert into deployment_step (organization_id, deployment_id, position, state, at)
    select s.organization_id, pg_temp.id('deployment', n, at), p, state, at + interval '1 second' * p
    from generate_series($1::bigint, $2 - 1) as n
    cross join lateral (select pg_temp.moment(n, $3) as at) m
    cross join unnest(array['queued', 'building', 'releasing', 'starting', 'verifying', 'shifting', 'draining',
        'live']) with ordinality as step (state, p)
    join seeded s on s.turn = n % $4";

const AUDIT_EVENT: &str = "
    insert into audit_event (id, organization_id, at, actor_kind, action, resource, outcome, request_id)
    select pg_temp.id('audit', n, at), s.organization_id, at, 'user', 'deployment.create', 'svc', 'success', 'req_'
    from generate_series($1::bigint, $2 - 1) as n
    cross join lateral (select pg_temp.moment(n, $3) as at) m
    join seeded s on s.turn = n % $4";

/// What of an old deployment is kept a month.
const EVENT: &str = "
    insert into event (id, organization_id, sequence, kind, subject, at)
    select pg_temp.id('event', n, at), s.organization_id, o.event_sequence + n + 1 - ($3 - $3 / 10),
        'deployment.live', 'dep', at
    from generate_series($1::bigint, $2 - 1) as n
    cross join lateral (select pg_temp.moment(n, $3) as at) m
    join seeded s on s.turn = n % $4 join organization o on o.id = s.organization_id";

/// Seeds that many deployments of a year.
pub async fn year(pool: &PgPool, environment: &str, deployments: i64) -> Result<()> {
    let environment: EnvironmentId = environment.parse()?;
    let mut connection = pool.acquire().await?;
    let session = "set session_replication_role = replica; set synchronous_commit = off";
    sqlx::raw_sql(session).execute(&mut *connection).await?;
    sqlx::raw_sql(FUNCTIONS).execute(&mut *connection).await?;
    sqlx::query(SERVICE)
        .bind(environment.uuid())
        .bind(SERVICES)
        .execute(&mut *connection)
        .await?;
    let seeded = "create temporary table seeded as
        select row_number() over (order by id) - 1 as turn, id, organization_id from service";
    sqlx::raw_sql(seeded).execute(&mut *connection).await?;
    let newest = deployments - deployments / 10;
    for (statement, from) in [
        (DEPLOYMENT, 0),
        (RELEASE, newest),
        (BUILD, newest),
        (STEP, newest),
        (AUDIT_EVENT, newest),
        (EVENT, newest),
    ] {
        for first in (from..deployments).step_by(usize::try_from(BATCH)?) {
            sqlx::query(statement)
                .bind(first)
                .bind(deployments.min(first + BATCH))
                .bind(deployments)
                .bind(SERVICES)
                .execute(&mut *connection)
                .await
                .with_context(|| format!("seeding from {first}: {statement}"))?;
        }
    }
    sqlx::raw_sql(
        "update organization o set event_sequence =
             (select coalesce(max(sequence), 0) from event where organization_id = o.id);
         set session_replication_role = origin; set synchronous_commit = on; analyze",
    )
    .execute(&mut *connection)
    .await?;
    connection.detach();
    Ok(())
}

/// All tables and indices.
pub async fn gibibytes(pool: &PgPool) -> Result<f64> {
    let sql = "select pg_database_size(current_database())::float8 / 2 ^ 30";
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}

/// Deployments that have not ended.
pub async fn unfinished(pool: &PgPool) -> Result<usize> {
    let sql = "select count(*) from deployment where finished_at is null";
    let count: i64 = sqlx::query_scalar(sql).fetch_one(pool).await?;
    Ok(usize::try_from(count)?)
}

/// How the deployments of this hour ended.
pub struct Ended {
    pub live: usize,
    pub failed: usize,
    pub p50_seconds: f64,
    pub p99_seconds: f64,
}

/// Of those that were asked for through the API.
pub async fn ended(pool: &PgPool) -> Result<Ended> {
    let (live, failed, p50, p99): (i64, i64, Option<f64>, Option<f64>) = sqlx::query_as(
        "select count(*) filter (where state = 'live'),
             count(*) filter (where state = 'failed'),
             percentile_disc(0.5) within group (order by extract(epoch from finished_at - created_at)::float8)
                 filter (where state = 'live'),
             percentile_disc(0.99) within group (order by extract(epoch from finished_at - created_at)::float8)
                 filter (where state = 'live')
         from deployment where created_by is not null",
    )
    .fetch_one(pool)
    .await?;
    Ok(Ended {
        live: usize::try_from(live)?,
        failed: usize::try_from(failed)?,
        p50_seconds: p50.unwrap_or(f64::NAN),
        p99_seconds: p99.unwrap_or(f64::NAN),
    })
}
