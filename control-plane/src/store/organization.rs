//! Organizations, and who is a member of which.

use sqlx::postgres::PgRow;

use api::{organization::Organization, page::Page, role::Role, session::Membership};
use domain::{
    id::{OrganizationId, UserId},
    name::Name,
};

use super::{
    Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, Write},
};

fn organization(row: &PgRow) -> Result<Organization, Error> {
    Ok(Organization {
        id: row.id("id")?,
        name: row.parsed("name")?,
        version: row.value("version")?,
        created_at: row.value("created_at")?,
    })
}

/// Stores an organization.
///
/// # Errors
/// By `organization_name` when the name is taken.
pub async fn insert(
    tx: &mut impl Write,
    id: OrganizationId,
    name: &Name,
) -> Result<Organization, Error> {
    let row = sqlx::query(
        "insert into organization (id, name) values ($1, $2)
         returning id, name, version, created_at",
    )
    .bind(id.uuid())
    .bind(name.as_str())
    .fetch_one(tx.executor())
    .await?;
    organization(&row)
}

/// One organization.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, id: OrganizationId) -> Result<Option<Organization>, Error> {
    let query = sqlx::query(
        "select id, name, version, created_at from organization where id = $1 and deleted_at is null",
    )
    .bind(id.uuid());
    query::find(tx, query, organization).await
}

/// One organization by its name.
///
/// # Errors
/// When the database can't be reached.
pub async fn find_by_name(
    tx: &mut impl Access,
    name: &Name,
) -> Result<Option<Organization>, Error> {
    let query = sqlx::query(
        "select id, name, version, created_at from organization where name = $1 and deleted_at is null",
    )
    .bind(name.as_str());
    query::find(tx, query, organization).await
}

/// Organizations of a person; of these only `only`, when given.
///
/// # Errors
/// When the database can't be reached.
pub async fn list_of_user(
    tx: &mut impl Access,
    user: UserId,
    only: Option<OrganizationId>,
    paging: Paging,
) -> Result<Page<Organization>, Error> {
    let query = sqlx::query(
        "select o.id, o.name, o.version, o.created_at
         from membership m join organization o on o.id = m.organization_id
         where m.user_id = $1 and o.deleted_at is null and ($2::uuid is null or o.id = $2)
           and ($3::uuid is null or o.id > $3)
         order by o.id limit $4",
    )
    .bind(user.uuid())
    .bind(only.map(OrganizationId::uuid));
    query::page(tx, query, paging, organization, |o| o.id.uuid()).await
}

/// What a person is a member of, with roles.
///
/// # Errors
/// When the database can't be reached.
pub async fn memberships(tx: &mut impl Access, user: UserId) -> Result<Vec<Membership>, Error> {
    let rows = sqlx::query(
        "select o.id, o.name, m.role
         from membership m join organization o on o.id = m.organization_id
         where m.user_id = $1 and o.deleted_at is null order by o.id limit 1000",
    )
    .bind(user.uuid())
    .fetch_all(tx.executor())
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Membership {
                organization_id: row.id("id")?,
                organization: row.value("name")?,
                role: row.parsed::<Role>("role")?,
            })
        })
        .collect()
}

/// Renames; none when the version is another one.
///
/// # Errors
/// By `organization_name` when the name is taken.
pub async fn update(
    tx: &mut impl Write,
    id: OrganizationId,
    version: Option<i64>,
    name: &Name,
) -> Result<Option<Organization>, Error> {
    let query = sqlx::query(
        "update organization set name = $3, version = version + 1
         where id = $1 and deleted_at is null and ($2::bigint is null or version = $2)
         returning id, name, version, created_at",
    )
    .bind(id.uuid())
    .bind(version)
    .bind(name.as_str());
    query::find(tx, query, organization).await
}

/// Marks as deleted; false when the version is another one. The name becomes free.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete(
    tx: &mut impl Write,
    id: OrganizationId,
    version: Option<i64>,
) -> Result<bool, Error> {
    let query = sqlx::query(
        "update organization set deleted_at = now(), version = version + 1
         where id = $1 and deleted_at is null and ($2::bigint is null or version = $2)",
    )
    .bind(id.uuid())
    .bind(version);
    query::changed(tx, query).await
}
