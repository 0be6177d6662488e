//! Uploaded working trees, in pieces, so that neither an upload nor a build holds one in memory.

use domain::id::{ArchiveId, OrganizationId, ServiceId};

use super::{
    Error,
    row::Columns as _,
    tx::{Access, Write},
};

/// Bytes of a piece; the last one may be smaller.
pub const CHUNK_BYTES: usize = 1 << 20;

/// What an archive's bytes are together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Hexadecimal.
    pub sha256: String,
    /// Of all pieces.
    pub size_bytes: u64,
}

/// Stores an archive's row; its pieces follow in the same transaction.
///
/// # Errors
/// When the database can't be reached.
pub async fn insert(
    tx: &mut impl Write,
    organization: OrganizationId,
    service: ServiceId,
    id: ArchiveId,
    digest: &Digest,
) -> Result<(), Error> {
    let size_bytes = i64::try_from(digest.size_bytes).map_err(|e| Error::corrupt("size", e))?;
    sqlx::query(
        "insert into archive (id, organization_id, service_id, sha256, size_bytes)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(id.uuid())
    .bind(organization.uuid())
    .bind(service.uuid())
    .bind(&digest.sha256)
    .bind(size_bytes)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Stores a piece.
///
/// # Errors
/// When the database can't be reached.
pub async fn insert_chunk(
    tx: &mut impl Write,
    organization: OrganizationId,
    archive: ArchiveId,
    position: i32,
    content: &[u8],
) -> Result<(), Error> {
    sqlx::query(
        "insert into archive_chunk (organization_id, archive_id, position, content)
         values ($1, $2, $3, $4)",
    )
    .bind(organization.uuid())
    .bind(archive.uuid())
    .bind(position)
    .bind(content)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Whether a service has this archive.
///
/// # Errors
/// When the database can't be reached.
pub async fn exists(
    tx: &mut impl Access,
    service: ServiceId,
    id: ArchiveId,
) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(
        "select exists (select 1 from archive where id = $1 and service_id = $2)",
    )
    .bind(id.uuid())
    .bind(service.uuid())
    .fetch_one(tx.executor())
    .await?)
}

/// The piece at a position; none after the last one.
///
/// # Errors
/// When the database can't be reached.
pub async fn read_chunk(
    tx: &mut impl Access,
    archive: ArchiveId,
    position: i32,
) -> Result<Option<Vec<u8>>, Error> {
    let row = sqlx::query(
        "select c.content from archive_chunk c join archive a on a.id = c.archive_id
         where c.organization_id = a.organization_id and a.id = $1 and c.position = $2",
    )
    .bind(archive.uuid())
    .bind(position)
    .fetch_optional(tx.executor())
    .await?;
    row.map(|row| row.value("content")).transpose()
}
