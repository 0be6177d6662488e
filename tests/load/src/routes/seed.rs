//! Many routed services at once: rows by sets, and the items of feeds by the control plane's own rendering,
//! in one write.

use anyhow::{Context as _, Result};
use control_plane::{
    feed::route::{Changes, RENDERING, View, changes},
    store::{
        Pools, feed,
        placement::{Release, Service, lock_service, release_of},
        ring,
        route::Routed,
        tx::SystemTx,
    },
};
use domain::id::{EnvironmentId, NodeId};
use protocol::item::Endpoint;
use serde_json::{Value, json};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

use crate::installation::REGION;

/// What the seeded services ask for; the rest are defaults.
pub fn specification() -> Value {
    json!({
        "source": { "repo": "https://git.example.com/acme/shop.git" },
        "network": { "port": 8080 },
    })
}

/// The name of the nth service, from 1.
pub fn hostname(n: usize) -> String {
    format!("service-{n}.railhead.test")
}

const SERVICES: &str = "
    create temporary table seed (n integer, service uuid, deployment uuid, release uuid, instance uuid,
        organization_id uuid, environment_id uuid, spec jsonb, source jsonb)";

const SERVICE: &str = "
    insert into seed select n, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(),
        e.organization_id, e.id, $3, $4 from environment e, generate_series(1, $1) as n where e.id = $2";

/// One live instance each, on a node that never speaks and is never missed.
const ROWS: &str = "
    insert into service (id, organization_id, environment_id, name, spec, active, current_deployment_id,
        routed_deployment_id)
    select service, organization_id, environment_id, 'service-' || n, spec, true, deployment, deployment from seed;

    insert into domain (id, organization_id, service_id, hostname, kind)
    select gen_random_uuid(), organization_id, service, 'service-' || n || '.railhead.test', 'default' from seed;

    insert into release (id, organization_id, service_id, number, image, spec, variables, content_digest)
    select release, organization_id, service, 1, '127.0.0.1:5000/image@sha256:' || repeat('0', 64), spec, '{}', ''
    from seed;

    insert into deployment (id, organization_id, service_id, number, source, spec, reason, state, release_id,
        finished_at)
    select deployment, organization_id, service, 1, source, spec, 'deploy', 'live', release, now() from seed;

    with node as (
        insert into node (id, region_id, role, name, public_key)
        select gen_random_uuid(), id, 'agent', 'silent', '' from region where name = 'us-east' returning id
    )
    insert into node_status (node_id, boot_id, sequence, protocol, binary_version, reported_at)
    select id, '', 0, 1, '', now() + interval '1 year' from node;

    insert into instance (id, organization_id, service_id, deployment_id, release_id, node_id, region_id,
        cpu_millis, memory_bytes)
    select seed.instance, seed.organization_id, seed.service, seed.deployment, seed.release, node.id,
        node.region_id, 0, 0 from seed, node where node.name = 'silent';

    insert into instance_status (instance_id, organization_id, state, ready, address)
    select instance, organization_id, 40, true, '127.0.0.1:9' from seed;

    analyze";

type Row = (i32, Uuid, Uuid, Uuid, Uuid, Uuid);

/// Seeds as many services with one route each.
pub async fn routes(pool: &PgPool, pools: &Pools, environment: &str, count: usize) -> Result<()> {
    let environment: EnvironmentId = environment.parse()?;
    let mut connection = pool.acquire().await?;
    sqlx::raw_sql(SERVICES).execute(&mut *connection).await?;
    sqlx::query(SERVICE)
        .bind(i32::try_from(count)?)
        .bind(environment.uuid())
        .bind(Json(specification()))
        .bind(Json(json!({ "from": "git", "repo": "", "root": "/" })))
        .execute(&mut *connection)
        .await?;
    sqlx::raw_sql(ROWS)
        .execute(&mut *connection)
        .await
        .context("seeding services")?;
    let rows: Vec<Row> = sqlx::query_as(
        "select n, service, deployment, release, instance, i.node_id from seed join instance i on i.id = instance
         order by n",
    )
    .fetch_all(&mut *connection)
    .await?;
    sqlx::raw_sql("drop table seed")
        .execute(&mut *connection)
        .await?;
    publish(pools, &rows).await
}

/// Writes what the reconciler would write service by service.
async fn publish(pools: &Pools, rows: &[Row]) -> Result<()> {
    let mut tx = SystemTx::begin(pools).await?;
    let (_, service, deployment, ..) = rows.first().context("no routes")?;
    let service = lock_service(&mut tx, (*service).into())
        .await?
        .context("no service")?;
    let release = release_of(&mut tx, (*deployment).into())
        .await?
        .context("no release")?;
    let rings = ring::rings(&mut tx, RENDERING).await?;
    let mut all = Changes::new();
    for row in rows {
        let (service, release) = of_row(&service, &release, row);
        let view = View {
            service: &service,
            release: Some(&release),
            hostnames: &[hostname(usize::try_from(row.0)?)],
            certificates: &[],
            instances: &[routed(row)?],
            existing: &[],
        };
        for (feed, changes) in changes(&view, &rings)? {
            all.entry(feed).or_default().extend(changes);
        }
    }
    feed::write(&mut tx, all).await?;
    Ok(tx.commit().await?)
}

fn of_row(service: &Service, release: &Release, row: &Row) -> (Service, Release) {
    let (_, service_id, deployment, release_id, ..) = *row;
    let service = Service {
        id: service_id.into(),
        current: Some(deployment.into()),
        routed: Some(deployment.into()),
        ..service.clone()
    };
    let release = Release {
        id: release_id.into(),
        deployment: deployment.into(),
        ..release.clone()
    };
    (service, release)
}

fn routed((.., instance, node): &Row) -> Result<Routed> {
    let instance = (*instance).into();
    Ok(Routed {
        region: REGION.parse()?,
        endpoint: Some(Endpoint {
            instance_id: instance,
            node_id: NodeId::from(*node),
            address: ([127, 0, 0, 1], 9).into(),
        }),
        instance,
        stays: true,
    })
}
