//! Uploaded working trees, stored in the database piece by piece.

use std::{io::SeekFrom, time::Duration};

use api::{archive::Archive, problem::Code};
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use domain::id::{ArchiveId, OrganizationId, ServiceId};
use futures::{Stream, StreamExt as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
};

use crate::store::{
    self,
    archive::{CHUNK_BYTES, Digest},
    event::NewEvent,
    tx::Write,
};

use super::{Action, Context, Error, Resource, authorize};

/// The first bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A client that sends nothing for so long has gone.
const STALLED: Duration = Duration::from_secs(30);

/// Stores an upload, all of it or nothing. It is spooled to disk first, so that a slow client holds
/// no connection of the database.
///
/// # Errors
/// When not allowed, it is no gzip, too large, or ends too early.
pub async fn create<E: std::fmt::Display>(
    context: &Context,
    service: ServiceId,
    body: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<Archive, Error> {
    let grant = authorize(context, Action::ArchiveCreate, Resource::Service(service)).await?;
    let _slot = context.state.uploads.take(grant.organization.uuid())?;
    let spooled = spool(body, context.state.config.limits.archive).await?;
    let id = ArchiveId::new();
    let mut tx = grant.mutate(context).await?;
    store::archive::insert(&mut tx, grant.organization, service, id, &spooled.digest).await?;
    store_chunks(&mut tx, grant.organization, id, spooled.file).await?;
    tx.event(NewEvent::new("archive.created", id));
    let Digest { sha256, size_bytes } = spooled.digest;
    let detail = json!({ "service": service, "sha256": sha256, "size_bytes": size_bytes });
    let entry = context.did_with(grant.action, id, detail);
    context.commit(tx, entry, &[]).await?;
    Ok(Archive {
        id,
        service_id: service,
        sha256,
        size_bytes,
        created_at: Utc::now(),
    })
}

/// An upload that has ended, in a file without a name, at its beginning.
struct Spooled {
    file: File,
    digest: Digest,
}

async fn spool<E: std::fmt::Display>(
    mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    limit: domain::quantity::Bytes,
) -> Result<Spooled, Error> {
    let mut file = File::from_std(tempfile::tempfile().map_err(no_disk)?);
    let (mut hash, mut size_bytes, mut head) = (Sha256::new(), 0_u64, BytesMut::new());
    while let Some(bytes) = next(&mut body).await? {
        size_bytes += bytes.len() as u64;
        if size_bytes > limit.0 {
            return Err(too_large(limit));
        }
        if head.len() < GZIP.len() {
            head.extend_from_slice(&bytes);
            if head.len() >= GZIP.len() && !head.starts_with(&GZIP) {
                return Err(no_gzip());
            }
        }
        hash.update(&bytes);
        file.write_all(&bytes).await.map_err(no_disk)?;
    }
    if head.len() < GZIP.len() {
        return Err(no_gzip());
    }
    file.seek(SeekFrom::Start(0)).await.map_err(no_disk)?;
    let sha256 = hex::encode(hash.finalize());
    let digest = Digest { sha256, size_bytes };
    Ok(Spooled { file, digest })
}

async fn next<E: std::fmt::Display>(
    body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
) -> Result<Option<Bytes>, Error> {
    let ended = |why: String| {
        let detail = format!("the upload ended too early: {why}");
        Error::refused(Code::MalformedBody, detail)
    };
    match tokio::time::timeout(STALLED, body.next()).await {
        Ok(bytes) => bytes.transpose().map_err(|e| ended(e.to_string())),
        Err(_) => Err(ended(format!("nothing came for {} s", STALLED.as_secs()))),
    }
}

async fn store_chunks(
    tx: &mut impl Write,
    organization: OrganizationId,
    id: ArchiveId,
    mut file: File,
) -> Result<(), Error> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    for position in 0.. {
        chunk.clear();
        let mut part = (&mut file).take(CHUNK_BYTES as u64);
        if part.read_to_end(&mut chunk).await.map_err(no_disk)? == 0 {
            return Ok(());
        }
        store::archive::insert_chunk(tx, organization, id, position, &chunk).await?;
    }
    Ok(())
}

fn too_large(limit: domain::quantity::Bytes) -> Error {
    Error::refused(
        Code::BodyTooLarge,
        format!("the archive is larger than {limit}; leave more out with .gitignore"),
    )
}

fn no_gzip() -> Error {
    Error::refused(
        Code::UnsupportedMediaType,
        "the body must be a gzip-compressed tar archive (application/gzip)",
    )
}

fn no_disk(error: std::io::Error) -> Error {
    Error::Internal(format!("an upload can't be spooled to disk: {error}"))
}
