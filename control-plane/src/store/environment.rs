//! Environments of projects.

use sqlx::postgres::PgRow;

use api::{environment::Environment, page::Page};
use domain::{
    id::{EnvironmentId, OrganizationId, ProjectId},
    name::Name,
};

use super::{
    Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, Write},
};

fn environment(row: &PgRow) -> Result<Environment, Error> {
    Ok(Environment {
        id: row.id("id")?,
        organization_id: row.id("organization_id")?,
        project_id: row.id("project_id")?,
        name: row.parsed("name")?,
        version: row.value("version")?,
        created_at: row.value("created_at")?,
    })
}

/// Stores an environment.
///
/// # Errors
/// By `environment_name` when the name is taken.
pub async fn insert(
    tx: &mut impl Write,
    organization: OrganizationId,
    project: ProjectId,
    id: EnvironmentId,
    name: &Name,
) -> Result<Environment, Error> {
    let row = sqlx::query(
        "insert into environment (id, organization_id, project_id, name) values ($1, $2, $3, $4)
         returning id, organization_id, project_id, name, version, created_at",
    )
    .bind(id.uuid())
    .bind(organization.uuid())
    .bind(project.uuid())
    .bind(name.as_str())
    .fetch_one(tx.executor())
    .await?;
    environment(&row)
}

/// One environment.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, id: EnvironmentId) -> Result<Option<Environment>, Error> {
    let query = sqlx::query(
        "select id, organization_id, project_id, name, version, created_at from environment
         where id = $1 and deleted_at is null",
    )
    .bind(id.uuid());
    query::find(tx, query, environment).await
}

/// The environments of a project.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    project: ProjectId,
    paging: Paging,
) -> Result<Page<Environment>, Error> {
    let query = sqlx::query(
        "select id, organization_id, project_id, name, version, created_at from environment
         where project_id = $1 and deleted_at is null and ($2::uuid is null or id > $2)
         order by id limit $3",
    )
    .bind(project.uuid());
    query::page(tx, query, paging, environment, |e| e.id.uuid()).await
}

/// Renames; none when the version is another one.
///
/// # Errors
/// By `environment_name` when the name is taken.
pub async fn update(
    tx: &mut impl Write,
    id: EnvironmentId,
    version: Option<i64>,
    name: &Name,
) -> Result<Option<Environment>, Error> {
    let query = sqlx::query(
        "update environment set name = $3, version = version + 1
         where id = $1 and deleted_at is null and ($2::bigint is null or version = $2)
         returning id, organization_id, project_id, name, version, created_at",
    )
    .bind(id.uuid())
    .bind(version)
    .bind(name.as_str());
    query::find(tx, query, environment).await
}

/// Marks as deleted, with its services; false when the version is another one.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete(
    tx: &mut impl Write,
    id: EnvironmentId,
    version: Option<i64>,
) -> Result<bool, Error> {
    let query = sqlx::query(
        "update environment set deleted_at = now(), version = version + 1
         where id = $1 and deleted_at is null and ($2::bigint is null or version = $2)",
    )
    .bind(id.uuid())
    .bind(version);
    if !query::changed(tx, query).await? {
        return Ok(false);
    }
    let services: Vec<uuid::Uuid> = sqlx::query_scalar(
        "select id from service where environment_id = $1 and deleted_at is null",
    )
    .bind(id.uuid())
    .fetch_all(tx.executor())
    .await?;
    for service in services {
        super::service::delete(tx, service.into(), None).await?;
    }
    Ok(true)
}
