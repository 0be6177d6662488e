//! What has ended long ago costs nothing: nobody reads a year's rows to find today's, and they are removed piece by
//! piece.

use domain::id::{DeploymentId, ProjectId, ServiceId};
use protocol::report::RequestCounts;
use testkit::{fake_edge::FakeEdge, wait::until};

use super::platform::{DEADLINE, Platform, Replica};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;
/// As many as its neighbours have together.
const ENDED: i64 = 12_000;

/// A service in a project of its own that has been deployed often; what an edge counted of each.
const LONG_LIFE: &str = "
    with project as (insert into project (id, organization_id, name) values ($4, $1, 'old')),
         environment as (insert into environment (id, organization_id, project_id, name) values ($4, $1, $4, 'old')),
         service as (insert into service (id, organization_id, environment_id, name, spec, current_deployment_id)
            values ($2, $1, $4, 'old', '{}', $3)),
         neighbour as (insert into project (id, organization_id, name) values ($2, $1, 'neighbour')),
         neighbours as (insert into environment (id, organization_id, project_id, name) values ($2, $1, $2, 'neighbour')),
         others as (insert into service (id, organization_id, environment_id, name, spec)
            select gen_random_uuid(), $1, $2, 'old-' || n, '{}' from generate_series(1, 500) as n returning id),
         ended as (select $2 as service, n, case n when $5 then $3 else gen_random_uuid() end as id,
                gen_random_uuid() as build
            from generate_series(1, $5) as n
            union all
            select id, n, gen_random_uuid(), gen_random_uuid() from others, generate_series(1, $5 / 500) as n),
         deployments as (insert into deployment (id, organization_id, service_id, number, source, spec, reason, state,
                finished_at)
            select id, $1, service, n, '{}', '{}', 'deploy', 'live', now() - interval '1 hour' from ended),
         builds as (insert into build (id, organization_id, service_id, deployment_id, source, finished_at)
            select build, $1, service, id, '{}', now() from ended),
         releases as (insert into release (id, organization_id, service_id, number, image, spec, variables,
                content_digest, build_id)
            select gen_random_uuid(), $1, service, n, '', '{}', '{}', '', build from ended),
         events as (insert into event (id, organization_id, sequence, kind, subject)
            select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || lpad(to_hex(n), 20, '0'))::uuid,
                $1, n, 'deployment.changed', '' from ended where service = $2),
         counted as (update organization set event_sequence = $5 where id = $1)
    insert into edge_request_count (node_id, deployment_id, boot_id, requests, failed)
    select node.id, ended.id, 'gone', 1, 0 from ended, node where node.role = 'edge'";

/// Rows read since the database was made, of tables that only grow.
const READ: &str = "
    select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables
    where relname in ('build', 'deployment', 'event', 'release')";

/// What a service leaves.
const ROWS: [&str; 3] = [
    "select count(*) from deployment where service_id = $1",
    "select count(*) from build where service_id = $1",
    "select count(*) from release where service_id = $1",
];

struct LongLife {
    project: ProjectId,
    service: ServiceId,
    newest: DeploymentId,
}

async fn long_life(platform: &Platform) -> LongLife {
    let life = LongLife {
        project: ProjectId::new(),
        service: ServiceId::new(),
        newest: DeploymentId::new(),
    };
    sqlx::query(LONG_LIFE)
        .bind(platform.organization.uuid())
        .bind(life.service.uuid())
        .bind(life.newest.uuid())
        .bind(life.project.uuid())
        .bind(ENDED)
        .execute(&platform.pool)
        .await
        .unwrap();
    sqlx::query("analyze")
        .execute(&platform.pool)
        .await
        .unwrap();
    life
}

/// Rows that were read by those who are gone: what a connection has read is told at its end.
async fn read(platform: &Platform) -> i64 {
    until(DEADLINE, async || {
        sqlx::query_scalar(
            "select not exists (select 1 from pg_stat_activity
                where datname = current_database() and usename like 'railhead%')",
        )
        .fetch_one(&platform.pool)
        .await
        .unwrap()
    })
    .await;
    sqlx::query_scalar(READ)
        .fetch_one(&platform.pool)
        .await
        .unwrap()
}

/// The test's registry can't be reached.
async fn clear_registry(platform: &Platform) {
    sqlx::query("delete from job where kind = 'delete_images'")
        .execute(&platform.pool)
        .await
        .unwrap();
}

async fn deleted(platform: &Platform) {
    until(DEADLINE, async || {
        clear_registry(platform).await;
        sqlx::query_scalar("select count(*) > 0 from workflow where state = 'done'")
            .fetch_one(&platform.pool)
            .await
            .unwrap()
    })
    .await;
}

/// What an edge tells is noticed: it counts for the deployment, and what it counts no more is forgotten.
async fn counts(platform: &Platform, edge: &FakeEdge, deployment: DeploymentId) {
    for requests in 1..=3 {
        edge.set_requests(
            deployment,
            RequestCounts {
                requests,
                failed: 0,
            },
        );
        until(DEADLINE, async || {
            let known: Vec<i64> =
                sqlx::query_scalar("select requests from edge_request_count where node_id = $1")
                    .bind(edge.node_id().uuid())
                    .fetch_all(&platform.pool)
                    .await
                    .unwrap();
            known == [i64::try_from(requests).unwrap()]
        })
        .await;
    }
}

async fn edge(platform: &Platform, replica: &Replica) -> FakeEdge {
    let edge = platform.edge(replica, "us-east", "east-edge").await;
    until(DEADLINE, async || {
        edge.global_routes().borrow().commit.is_some()
    })
    .await;
    edge
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_reports_and_deletions_read_nothing_that_has_ended_long_ago() {
    let platform = Platform::with("[node]\nreport_interval = \"200ms\"").await;
    let replica = platform.replica().await;
    let url = replica.url.clone();
    let edge_node = edge(&platform, &replica).await;
    drop(replica);
    let life = long_life(&platform).await;
    let before = read(&platform).await;

    let replica = platform.replica_at(&url).await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let service = platform.service("web", ONE).await;
    for _ in 0..2 {
        let deployment = platform.deploy(&replica, service).await;
        platform.reaches(deployment, "live").await;
    }
    counts(&platform, &edge_node, life.newest).await;
    platform.delete_project().await;
    deleted(&platform).await;

    drop((agent, edge_node, replica));
    let rows = read(&platform).await - before;
    assert!(rows < ENDED, "{rows} rows were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_life_is_deleted_piece_by_piece() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let _edge = edge(&platform, &replica).await;
    let life = long_life(&platform).await;
    platform.delete(life.project).await;
    until(DEADLINE, async || {
        clear_registry(&platform).await;
        let waits_on: Option<String> = sqlx::query_scalar("select waits_on from workflow")
            .fetch_one(&platform.pool)
            .await
            .unwrap();
        waits_on.is_some_and(|on| on.contains("piece by piece"))
    })
    .await;
    deleted(&platform).await;
    for rows in ROWS {
        assert_eq!(platform.count(rows, life.service).await, 0, "{rows}");
    }
}
