//! Projects.

use sqlx::postgres::PgRow;

use api::{page::Page, project::Project};
use domain::{
    id::{OrganizationId, ProjectId},
    name::Name,
};

use super::{
    Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, Write},
};

fn project(row: &PgRow) -> Result<Project, Error> {
    Ok(Project {
        id: row.id("id")?,
        organization_id: row.id("organization_id")?,
        name: row.parsed("name")?,
        version: row.value("version")?,
        created_at: row.value("created_at")?,
    })
}

/// Stores a project.
///
/// # Errors
/// By `project_name` when the name is taken.
pub async fn insert(
    tx: &mut impl Write,
    organization: OrganizationId,
    id: ProjectId,
    name: &Name,
) -> Result<Project, Error> {
    let row = sqlx::query(
        "insert into project (id, organization_id, name) values ($1, $2, $3)
         returning id, organization_id, name, version, created_at",
    )
    .bind(id.uuid())
    .bind(organization.uuid())
    .bind(name.as_str())
    .fetch_one(tx.executor())
    .await?;
    project(&row)
}

/// One project.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, id: ProjectId) -> Result<Option<Project>, Error> {
    let query = sqlx::query(
        "select id, organization_id, name, version, created_at from project
         where id = $1 and deleted_at is null",
    )
    .bind(id.uuid());
    query::find(tx, query, project).await
}

/// The projects of an organization.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    organization: OrganizationId,
    paging: Paging,
) -> Result<Page<Project>, Error> {
    let query = sqlx::query(
        "select id, organization_id, name, version, created_at from project
         where organization_id = $1 and deleted_at is null and ($2::uuid is null or id > $2)
         order by id limit $3",
    )
    .bind(organization.uuid());
    query::page(tx, query, paging, project, |p| p.id.uuid()).await
}

/// Renames; none when the version is another one.
///
/// # Errors
/// By `project_name` when the name is taken.
pub async fn update(
    tx: &mut impl Write,
    id: ProjectId,
    version: Option<i64>,
    name: &Name,
) -> Result<Option<Project>, Error> {
    let query = sqlx::query(
        "update project set name = $3, version = version + 1
         where id = $1 and deleted_at is null and ($2::bigint is null or version = $2)
         returning id, organization_id, name, version, created_at",
    )
    .bind(id.uuid())
    .bind(version)
    .bind(name.as_str());
    query::find(tx, query, project).await
}

/// Marks as deleted, with all in it; false when the version is another one. The reconciler then takes
/// away what runs, and the rows last.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete(
    tx: &mut impl Write,
    id: ProjectId,
    version: Option<i64>,
) -> Result<bool, Error> {
    let query = sqlx::query(
        "update project set deleted_at = now(), version = version + 1
         where id = $1 and deleted_at is null and ($2::bigint is null or version = $2)",
    )
    .bind(id.uuid())
    .bind(version);
    if !query::changed(tx, query).await? {
        return Ok(false);
    }
    let environments: Vec<uuid::Uuid> = sqlx::query_scalar(
        "select id from environment where project_id = $1 and deleted_at is null",
    )
    .bind(id.uuid())
    .fetch_all(tx.executor())
    .await?;
    for environment in environments {
        super::environment::delete(tx, environment.into(), None).await?;
    }
    Ok(true)
}
