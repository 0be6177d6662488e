//! Regions.

use sqlx::postgres::PgRow;

use api::{page::Page, region::Region};
use domain::{id::RegionId, name::Name};

use super::{
    Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, Write},
};

fn region(row: &PgRow) -> Result<Region, Error> {
    Ok(Region {
        id: row.id("id")?,
        name: row.parsed("name")?,
        enabled: row.value("enabled")?,
        version: row.value("version")?,
        created_at: row.value("created_at")?,
    })
}

/// Stores a region.
///
/// # Errors
/// By `region_name_key` when the name is taken.
pub async fn insert(tx: &mut impl Write, id: RegionId, name: &Name) -> Result<Region, Error> {
    let row = sqlx::query(
        "insert into region (id, name) values ($1, $2)
         returning id, name, enabled, version, created_at",
    )
    .bind(id.uuid())
    .bind(name.as_str())
    .fetch_one(tx.executor())
    .await?;
    region(&row)
}

/// One region by its name.
///
/// # Errors
/// When the database can't be reached.
pub async fn find_by_name(tx: &mut impl Access, name: &Name) -> Result<Option<Region>, Error> {
    let query =
        sqlx::query("select id, name, enabled, version, created_at from region where name = $1")
            .bind(name.as_str());
    query::find(tx, query, region).await
}

/// All regions.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(tx: &mut impl Access, paging: Paging) -> Result<Page<Region>, Error> {
    let query = sqlx::query(
        "select id, name, enabled, version, created_at from region
         where $1::uuid is null or id > $1 order by id limit $2",
    );
    query::page(tx, query, paging, region, |r| r.id.uuid()).await
}

/// Names that no region has.
///
/// # Errors
/// When the database can't be reached.
pub async fn unknown(tx: &mut impl Access, names: &[&str]) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(
        "select name from unnest($1::text[]) as name
         where not exists (select 1 from region where region.name = name.name) order by name",
    )
    .bind(names)
    .fetch_all(tx.executor())
    .await?)
}

/// Enables or disables; none when there is no such region, or the version is another one.
///
/// # Errors
/// When the database can't be reached.
pub async fn update(
    tx: &mut impl Write,
    id: RegionId,
    version: Option<i64>,
    enabled: bool,
) -> Result<Option<Region>, Error> {
    let query = sqlx::query(
        "update region set enabled = $3, version = version + 1
         where id = $1 and ($2::bigint is null or version = $2)
         returning id, name, enabled, version, created_at",
    )
    .bind(id.uuid())
    .bind(version)
    .bind(enabled);
    query::find(tx, query, region).await
}

/// Whether there is such a region.
///
/// # Errors
/// When the database can't be reached.
pub async fn exists(tx: &mut impl Access, id: RegionId) -> Result<bool, Error> {
    Ok(
        sqlx::query_scalar("select exists (select 1 from region where id = $1)")
            .bind(id.uuid())
            .fetch_one(tx.executor())
            .await?,
    )
}
