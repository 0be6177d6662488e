//! SSH keys that builds fetch private repositories with.

use sqlx::postgres::PgRow;

use api::{deploy_key::DeployKey, page::Page};
use domain::id::{DeployKeyId, OrganizationId, ProjectId};

use crate::secrets::Sealed;

use super::{
    Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, Write},
};

fn deploy_key(row: &PgRow) -> Result<DeployKey, Error> {
    Ok(DeployKey {
        id: row.id("id")?,
        project_id: row.id("project_id")?,
        name: row.parsed("name")?,
        public_key: row.value("public_key")?,
        created_at: row.value("created_at")?,
    })
}

/// Stores a key.
///
/// # Errors
/// By `deploy_key_name` when the name is taken.
pub async fn insert(
    tx: &mut impl Write,
    organization: OrganizationId,
    key: &DeployKey,
    private_key: &Sealed,
) -> Result<(), Error> {
    sqlx::query(
        "insert into deploy_key (id, organization_id, project_id, name, public_key, ciphertext,
             wrapped_key, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(key.id.uuid())
    .bind(organization.uuid())
    .bind(key.project_id.uuid())
    .bind(key.name.as_str())
    .bind(&key.public_key)
    .bind(&private_key.ciphertext)
    .bind(&private_key.wrapped_key)
    .bind(key.created_at)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// The keys of a project.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    project: ProjectId,
    paging: Paging,
) -> Result<Page<DeployKey>, Error> {
    let query = sqlx::query(
        "select id, project_id, name, public_key, created_at from deploy_key
         where project_id = $1 and ($2::uuid is null or id > $2) order by id limit $3",
    )
    .bind(project.uuid());
    query::page(tx, query, paging, deploy_key, |k| k.id.uuid()).await
}

/// The newest key of the project that an environment belongs to.
///
/// # Errors
/// When the database can't be reached.
pub async fn newest_of_project(
    tx: &mut impl Access,
    project: ProjectId,
) -> Result<Option<DeployKeyId>, Error> {
    let id: Option<uuid::Uuid> = sqlx::query_scalar(
        "select id from deploy_key where project_id = $1 order by id desc limit 1",
    )
    .bind(project.uuid())
    .fetch_optional(tx.executor())
    .await?;
    Ok(id.map(DeployKeyId::from))
}

/// Deletes a key.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete(tx: &mut impl Write, id: DeployKeyId) -> Result<(), Error> {
    sqlx::query("delete from deploy_key where id = $1")
        .bind(id.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}
