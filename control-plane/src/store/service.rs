//! Services: what is asked for, and a summary of what is seen.

use std::collections::{BTreeMap, HashMap};

use sqlx::postgres::PgRow;
use uuid::Uuid;

use api::{
    page::Page,
    service::{RegionStatus, Service},
};
use domain::{
    id::{EnvironmentId, OrganizationId, ServiceId},
    name::Name,
    spec::ServiceSpec,
};

use super::{
    Connection, Error,
    evaluation::Shortage,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, Write},
};

/// A service's row with its project, without what is seen of it.
fn service(row: &PgRow) -> Result<Service, Error> {
    Ok(Service {
        id: row.id("id")?,
        organization_id: row.id("organization_id")?,
        project_id: row.id("project_id")?,
        environment_id: row.id("environment_id")?,
        name: row.parsed("name")?,
        spec: row.json("spec")?,
        active: row.value("active")?,
        current_deployment_id: row.id_opt("current_deployment_id")?,
        target_deployment_id: row.id_opt("target_deployment_id")?,
        hostnames: Vec::new(),
        regions: BTreeMap::new(),
        blocked: BTreeMap::new(),
        version: row.value("version")?,
        created_at: row.value("created_at")?,
    })
}

/// Stores a service.
///
/// # Errors
/// By `service_name` when the name is taken.
pub async fn insert(
    tx: &mut impl Write,
    organization: OrganizationId,
    environment: EnvironmentId,
    id: ServiceId,
    name: &Name,
    spec: &ServiceSpec,
) -> Result<(), Error> {
    sqlx::query(
        "insert into service (id, organization_id, environment_id, name, spec)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(id.uuid())
    .bind(organization.uuid())
    .bind(environment.uuid())
    .bind(name.as_str())
    .bind(sqlx::types::Json(spec))
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// One service with what is seen of it.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, id: ServiceId) -> Result<Option<Service>, Error> {
    let row = sqlx::query(
        "select s.*, e.project_id from service s
         join environment e on e.organization_id = s.organization_id and e.id = s.environment_id
         where s.id = $1 and s.deleted_at is null",
    )
    .bind(id.uuid())
    .fetch_optional(tx.executor())
    .await?;
    let mut found: Vec<Service> = row.iter().map(service).collect::<Result<_, _>>()?;
    add_seen(tx.executor(), &mut found).await?;
    Ok(found.pop())
}

/// The services of an environment.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    environment: EnvironmentId,
    paging: Paging,
) -> Result<Page<Service>, Error> {
    let query = sqlx::query(
        "select s.*, e.project_id from service s
         join environment e on e.organization_id = s.organization_id and e.id = s.environment_id
         where s.environment_id = $1 and s.deleted_at is null and ($2::uuid is null or s.id > $2)
         order by s.id limit $3",
    )
    .bind(environment.uuid());
    let mut page = query::page(tx, query, paging, service, |s| s.id.uuid()).await?;
    add_seen(tx.executor(), &mut page.items).await?;
    Ok(page)
}

/// Replaces the specification; none when the version is another one.
///
/// # Errors
/// When the database can't be reached.
pub async fn update(
    tx: &mut impl Write,
    id: ServiceId,
    version: Option<i64>,
    spec: &ServiceSpec,
) -> Result<Option<i64>, Error> {
    Ok(sqlx::query_scalar(
        "update service set spec = $3, version = version + 1
         where id = $1 and deleted_at is null and ($2::bigint is null or version = $2)
         returning version",
    )
    .bind(id.uuid())
    .bind(version)
    .bind(sqlx::types::Json(spec))
    .fetch_optional(tx.executor())
    .await?)
}

/// Its specification, with the row locked until the transaction ends.
///
/// # Errors
/// When the database can't be reached.
pub async fn lock_spec(tx: &mut impl Write, id: ServiceId) -> Result<Option<ServiceSpec>, Error> {
    let row =
        sqlx::query("select spec from service where id = $1 and deleted_at is null for update")
            .bind(id.uuid())
            .fetch_optional(tx.executor())
            .await?;
    row.map(|row| row.json("spec")).transpose()
}

/// From now on nothing of it shall run.
///
/// # Errors
/// When the database can't be reached.
pub async fn deactivate(tx: &mut impl Write, id: ServiceId) -> Result<(), Error> {
    sqlx::query("update service set active = false, version = version + 1 where id = $1")
        .bind(id.uuid())
        .execute(tx.executor())
        .await?;
    sqlx::query(
        "update deployment set cancel_requested = true where service_id = $1 and finished_at is null",
    )
    .bind(id.uuid())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Marks as deleted and frees its hostnames; false when the version is another one. The reconciler
/// then takes away what runs, and the rows last.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete(
    tx: &mut impl Write,
    id: ServiceId,
    version: Option<i64>,
) -> Result<bool, Error> {
    let query = sqlx::query(
        "update service set deleted_at = now(), active = false, version = version + 1
         where id = $1 and deleted_at is null and ($2::bigint is null or version = $2)",
    )
    .bind(id.uuid())
    .bind(version);
    if !query::changed(tx, query).await? {
        return Ok(false);
    }
    sqlx::query("delete from domain where service_id = $1")
        .bind(id.uuid())
        .execute(tx.executor())
        .await?;
    Ok(true)
}

/// Whether the environment has a service of this name.
///
/// # Errors
/// When the database can't be reached.
pub async fn exists(
    tx: &mut impl Access,
    environment: EnvironmentId,
    name: &str,
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(
        "select exists (select 1 from service
         where environment_id = $1 and name = $2 and deleted_at is null)",
    )
    .bind(environment.uuid())
    .bind(name)
    .fetch_one(tx.executor())
    .await?)
}

async fn add_seen(mut connection: Connection<'_>, services: &mut [Service]) -> Result<(), Error> {
    let ids: Vec<Uuid> = services.iter().map(|s| s.id.uuid()).collect();
    let mut hostnames = hostnames(connection.again(), &ids).await?;
    let mut regions = regions(connection.again(), &ids).await?;
    let mut blocked = blocked(connection, &ids).await?;
    for service in services {
        let id = service.id.uuid();
        service.hostnames = hostnames.remove(&id).unwrap_or_default();
        service.regions = regions.remove(&id).unwrap_or_default();
        service.blocked = blocked.remove(&id).unwrap_or_default();
    }
    Ok(())
}

async fn hostnames(
    connection: Connection<'_>,
    services: &[Uuid],
) -> Result<HashMap<Uuid, Vec<String>>, Error> {
    let rows = sqlx::query(
        "select service_id, hostname from domain where service_id = any($1)
         order by kind = 'custom', id",
    )
    .bind(services)
    .fetch_all(connection)
    .await?;
    let mut all: HashMap<Uuid, Vec<String>> = HashMap::new();
    for row in &rows {
        let hostname = row.value("hostname")?;
        all.entry(row.value("service_id")?)
            .or_default()
            .push(hostname);
    }
    Ok(all)
}

async fn regions(
    connection: Connection<'_>,
    services: &[Uuid],
) -> Result<HashMap<Uuid, BTreeMap<Name, RegionStatus>>, Error> {
    let rows = sqlx::query(
        "select i.service_id, r.name as region,
             count(*) filter (where i.desired = 'run')::int as desired,
             count(*) filter (where i.desired = 'run' and s.state = 40)::int as running,
             count(*) filter (where i.desired = 'run' and s.state = 40 and s.ready)::int as ready,
             min(s.reported_at) filter (where i.desired = 'run') as reported_at
         from instance i join region r on r.id = i.region_id
         left join instance_status s on s.instance_id = i.id
         where i.service_id = any($1) and i.purpose = 'serve'
         group by i.service_id, r.name
         having count(*) filter (where i.desired = 'run') > 0",
    )
    .bind(services)
    .fetch_all(connection)
    .await?;
    let mut all: HashMap<Uuid, BTreeMap<Name, RegionStatus>> = HashMap::new();
    for row in &rows {
        let status = RegionStatus {
            desired: count(row, "desired")?,
            running: count(row, "running")?,
            ready: count(row, "ready")?,
            reported_at: row.value("reported_at")?,
        };
        all.entry(row.value("service_id")?)
            .or_default()
            .insert(row.parsed("region")?, status);
    }
    Ok(all)
}

fn count(row: &PgRow, column: &'static str) -> Result<u32, Error> {
    u32::try_from(row.value::<i32>(column)?).map_err(|e| Error::corrupt(column, e))
}

async fn blocked(
    connection: Connection<'_>,
    services: &[Uuid],
) -> Result<HashMap<Uuid, BTreeMap<String, String>>, Error> {
    let rows = sqlx::query(
        "select distinct on (service_id) service_id, exhausted from evaluation
         where service_id = any($1) and state = 'blocked' and exhausted is not null
         order by service_id, updated_at desc",
    )
    .bind(services)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let shortages: Vec<Shortage> = row.json("exhausted")?;
            let reasons = shortages.into_iter().map(|s| (s.region, s.explanation));
            Ok((row.value("service_id")?, reasons.collect()))
        })
        .collect()
}
