//! Reads the [`World`]: rows from PostgreSQL in one snapshot, containers from the engines, and what only
//! the API can read from the API.

mod audit;
mod services;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use api::{project::Project, variable::Variable};
use chrono::{DateTime, Utc};
use domain::{
    deployment::machine::Step,
    id::{DeploymentId, EnvironmentId, InstanceId, ServiceId},
};
use e2e::platform::Platform;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, types::Uuid};

use crate::{
    engine::{self, OURS},
    world::{Container, Deployment, Instance, World},
};

/// Everything as it is now; the variables are those of `environment`.
pub async fn world(platform: &Platform, environment: EnvironmentId) -> Result<World> {
    let mut world = World {
        environment: environment.to_string(),
        ..World::default()
    };
    containers(platform, &mut world).await?;
    let mut connection = PgConnection::connect(&database_url(platform)?)
        .await
        .context("connecting to PostgreSQL")?;
    let mut tx = connection.begin().await?;
    sqlx::query("set transaction isolation level repeatable read read only")
        .execute(&mut *tx)
        .await?;
    deployments(&mut tx, &mut world).await?;
    instances(&mut tx, &mut world).await?;
    routes(&mut tx, &mut world).await?;
    reservations(&mut tx, &mut world).await?;
    doubled(&mut tx, &mut world).await?;
    audit::rows(&mut tx, &mut world).await?;
    services::rows(&mut tx, &mut world).await?;
    tx.rollback().await?;
    // Images go before rows do: what is there now although its rows were gone is left over.
    services::images(platform, &mut world).await?;
    from_api(platform, environment, &mut world).await?;
    Ok(world)
}

/// As the control plane itself reaches it, from its own configuration.
pub fn database_url(platform: &Platform) -> Result<String> {
    let folder = platform.status.admin_token_file.parent();
    let folder = folder.context("the administrator's token is in no folder")?;
    let names = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<_> = names
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("control-plane") && name.ends_with(".toml"))
        })
        .collect();
    files.sort();
    let file = files
        .first()
        .context("no configuration of a control plane")?;
    let config: toml::Table = fs::read_to_string(file)?.parse()?;
    let url = config
        .get("database")
        .and_then(|database| database.get("system_url")?.as_str());
    Ok(url.context("no database.system_url")?.to_owned())
}

async fn containers(platform: &Platform, world: &mut World) -> Result<()> {
    for (name, region) in &platform.status.regions {
        engine_has(world, name, &region.docker_socket).await?;
    }
    Ok(())
}

/// What one more machine of a region has, of which `./dev` does not know. Each machine has networks of its own.
pub async fn machine_has(world: &mut World, region: &str, socket: &Path) -> Result<()> {
    let mut there = World::default();
    engine_has(&mut there, region, socket).await?;
    world.containers.extend(there.containers);
    for (place, count) in there.networks {
        let most = world.networks.entry(place).or_default();
        *most = count.max(*most);
    }
    Ok(())
}

async fn engine_has(world: &mut World, region: &str, socket: &Path) -> Result<()> {
    let path = format!("/containers/json?all=true&filters={OURS}");
    for container in engine::get(socket, &path).await? {
        world.containers.push(Container {
            region: region.to_owned(),
            instance: label(&container, "railhead.instance"),
            state: engine::state(socket, &container).await?,
        });
    }
    for network in engine::get(socket, &format!("/networks?filters={OURS}")).await? {
        let environment = label(&network, "railhead.environment");
        let place = (region.to_owned(), environment);
        *world.networks.entry(place).or_default() += 1;
    }
    Ok(())
}

fn label(object: &Value, name: &str) -> String {
    object["Labels"][name]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

type DeploymentRow = (Uuid, Uuid, String, String, Option<String>, Option<String>);

async fn deployments(tx: &mut PgConnection, world: &mut World) -> Result<()> {
    let mut steps = by_deployment(
        "select deployment_id, state, at from deployment_step order by deployment_id, position",
        tx,
    )
    .await?;
    let mut told: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    let events: Vec<(String, String)> = sqlx::query_as(
        "select subject, data ->> 'state' from event where kind = 'deployment.changed'
         order by organization_id, sequence",
    )
    .fetch_all(&mut *tx)
    .await?;
    for (deployment, state) in events {
        told.entry(deployment).or_default().push(state.parse()?);
    }
    let rows: Vec<DeploymentRow> = sqlx::query_as(
        "select id, service_id, reason, state, error_code, error_message from deployment",
    )
    .fetch_all(tx)
    .await?;
    for (id, service, reason, state, code, message) in rows {
        let id = DeploymentId::from(id);
        world.deployments.push(Deployment {
            id,
            service: service.into(),
            reason,
            state: state.parse()?,
            steps: steps.remove(&id).unwrap_or_default(),
            told: told.remove(&id.to_string()).unwrap_or_default(),
            problem: code.zip(message),
        });
    }
    Ok(())
}

async fn by_deployment(
    statement: &'static str,
    tx: &mut PgConnection,
) -> Result<BTreeMap<DeploymentId, Vec<(Step, DateTime<Utc>)>>> {
    let rows: Vec<(Uuid, String, DateTime<Utc>)> = sqlx::query_as(statement).fetch_all(tx).await?;
    let mut steps: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (deployment, state, at) in rows {
        let of = steps.entry(DeploymentId::from(deployment)).or_default();
        of.push((state.parse()?, at));
    }
    Ok(steps)
}

type InstanceRow = (Uuid, Uuid, Uuid, String, bool, bool, bool, bool);

async fn instances(tx: &mut PgConnection, world: &mut World) -> Result<()> {
    let rows: Vec<InstanceRow> = sqlx::query_as(
        "select i.id, i.service_id, s.environment_id, r.name, i.desired = 'run', i.stopped_at is not null,
                i.purpose = 'serve', coalesce(t.ready, false)
         from instance i
         join service s on s.id = i.service_id
         join region r on r.id = i.region_id
         left join instance_status t on t.instance_id = i.id",
    )
    .fetch_all(&mut *tx)
    .await?;
    for (id, service, environment, region, wanted, stopped, serves, ready) in rows {
        let row = Instance {
            service: service.into(),
            environment: EnvironmentId::from(environment).to_string(),
            region,
            wanted,
            stopped,
            serves,
            ready,
        };
        let id = InstanceId::from(id).to_string();
        world.instances.insert(id, row);
    }
    let rows: Vec<(Uuid, Value)> = sqlx::query_as(
        "select id, spec -> 'scale' -> 'regions' from service
         where active and deleted_at is null and current_deployment_id is not null",
    )
    .fetch_all(tx)
    .await?;
    for (service, regions) in rows {
        let regions = serde_json::from_value(regions).context("reading a scale")?;
        world.wanted.insert(ServiceId::from(service), regions);
    }
    Ok(())
}

async fn routes(tx: &mut PgConnection, world: &mut World) -> Result<()> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select split_part(split_part(feed, '/', 3), '@', 1), e ->> 'instance_id'
         from feed_item, jsonb_array_elements(json::jsonb -> 'endpoints') e
         where feed like 'routes/region/%' and json::jsonb ->> 'kind' = 'service'",
    )
    .fetch_all(&mut *tx)
    .await?;
    world.endpoints = rows.into_iter().collect();
    world.behind = sqlx::query_scalar(
        "select format('%s (%s) has %s of %s at %s, the newest is %s', n.name, n.role, a.digest, a.feed,
                       a.generation, f.generation)
         from node_feed a join feed f on f.name = a.feed join node n on n.id = a.node_id
         where (a.generation, a.digest) is distinct from (f.generation, f.digest) and n.denied_at is null
         union all
         select format('%s (%s) is late since %s', n.name, n.role, s.late_since)
         from node n join node_status s on s.node_id = n.id
         where s.late_since is not null and n.denied_at is null",
    )
    .fetch_all(tx)
    .await?;
    Ok(())
}

async fn reservations(tx: &mut PgConnection, world: &mut World) -> Result<()> {
    world.misreserved = sqlx::query_scalar(
        "select format('%s has reserved %s mCPU and %s bytes, its instances take %s and %s', n.name,
                       n.reserved_cpu_millis, n.reserved_memory_bytes, taken.cpu, taken.memory)
         from node n, lateral (
            select coalesce(sum(i.cpu_millis), 0) as cpu, coalesce(sum(i.memory_bytes), 0) as memory
            from instance i where i.node_id = n.id and i.stopped_at is null
         ) taken
         where (n.reserved_cpu_millis, n.reserved_memory_bytes) <> (taken.cpu, taken.memory)",
    )
    .fetch_all(tx)
    .await?;
    Ok(())
}

/// Each of these is written by one step of a deployment, or by one plan.
async fn doubled(tx: &mut PgConnection, world: &mut World) -> Result<()> {
    world.doubled = sqlx::query_scalar(
        "select format('deployment %s has %s builds', deployment_id, count(*)) from build
         group by deployment_id having count(*) > 1
         union all
         select format('release %s of service %s is no deployment''s', r.id, r.service_id) from release r
         where not exists (select 1 from deployment d where d.release_id = r.id)
         union all
         select format('%s is in the documents of %s nodes', id, count(*)) from feed_item
         where feed like 'node/%' and id like 'instance/%' group by id having count(*) > 1",
    )
    .fetch_all(tx)
    .await?;
    Ok(())
}

async fn from_api(
    platform: &Platform,
    environment: EnvironmentId,
    world: &mut World,
) -> Result<()> {
    let path = format!("/v1/environments/{environment}/variables");
    let variables: Vec<Variable> = platform.client.list(&path).await?;
    world.variables = variables
        .into_iter()
        .filter_map(|variable| Some((variable.name.to_string(), variable.value?)))
        .collect();
    let path = format!("/v1/organizations/{}/projects", platform.organization);
    let projects: Vec<Project> = platform.client.list(&path).await?;
    world.projects = projects
        .into_iter()
        .map(|project| project.id)
        .collect::<BTreeSet<_>>();
    Ok(())
}
