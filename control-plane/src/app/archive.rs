//! Uploaded working trees, streamed into the database piece by piece.

use api::{archive::Archive, problem::Code};
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use domain::id::{ArchiveId, OrganizationId, ServiceId};
use futures::{Stream, StreamExt as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::store::{
    self,
    archive::CHUNK_BYTES,
    event::NewEvent,
    tx::{Mutation, Write},
};

use super::{Action, Context, Error, Resource, authorize};

/// The first bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Stores an upload, all of it or nothing.
///
/// # Errors
/// When not allowed, it is no gzip, too large, or ends too early.
pub async fn create<E: std::fmt::Display>(
    context: &Context,
    service: ServiceId,
    body: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<Archive, Error> {
    let grant = authorize(context, Action::ArchiveCreate, Resource::Service(service)).await?;
    let id = ArchiveId::new();
    let mut tx: Mutation = grant.mutate(context).await?;
    store::archive::insert(&mut tx, grant.organization, service, id).await?;
    let limit = context.state.config.limits.archive.0;
    let mut upload = Upload::new(&mut tx, grant.organization, id, limit);
    upload.take(body).await?;
    let (sha256, size_bytes) = upload.end().await?;
    store::archive::complete(&mut tx, id, &sha256, size_bytes).await?;
    tx.event(NewEvent::new("archive.created", id));
    let detail = json!({ "service": service, "sha256": sha256, "size_bytes": size_bytes });
    let entry = context.did_with(grant.action, id, detail);
    context.commit(tx, entry, &[]).await?;
    Ok(Archive {
        id,
        service_id: service,
        sha256,
        size_bytes: u64::try_from(size_bytes).unwrap_or_default(),
        created_at: Utc::now(),
    })
}

struct Upload<'a, T> {
    tx: &'a mut T,
    organization: OrganizationId,
    id: ArchiveId,
    limit: u64,
    hash: Sha256,
    size: u64,
    position: i32,
    pending: BytesMut,
}

impl<'a, T: Write> Upload<'a, T> {
    fn new(tx: &'a mut T, organization: OrganizationId, id: ArchiveId, limit: u64) -> Self {
        Self {
            tx,
            organization,
            id,
            limit,
            hash: Sha256::new(),
            size: 0,
            position: 0,
            pending: BytesMut::with_capacity(CHUNK_BYTES),
        }
    }

    async fn take<E: std::fmt::Display>(
        &mut self,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), Error> {
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|e| {
                Error::refused(
                    Code::MalformedBody,
                    format!("the upload ended too early: {e}"),
                )
            })?;
            self.size += bytes.len() as u64;
            if self.size > self.limit {
                let limit = domain::quantity::Bytes(self.limit);
                return Err(Error::refused(
                    Code::BodyTooLarge,
                    format!(
                        "the archive is larger than {limit}; leave more out with .gitignore or \
                         .dockerignore"
                    ),
                ));
            }
            self.hash.update(&bytes);
            self.pending.extend_from_slice(&bytes);
            while self.pending.len() >= CHUNK_BYTES {
                let chunk = self.pending.split_to(CHUNK_BYTES).freeze();
                self.store(&chunk).await?;
            }
        }
        Ok(())
    }

    async fn end(mut self) -> Result<(String, i64), Error> {
        let rest = std::mem::take(&mut self.pending).freeze();
        if !rest.is_empty() {
            self.store(&rest).await?;
        }
        if self.position == 0 {
            return Err(no_gzip());
        }
        let size = i64::try_from(self.size).map_err(|e| Error::Internal(e.to_string()))?;
        Ok((hex::encode(self.hash.finalize()), size))
    }

    async fn store(&mut self, chunk: &[u8]) -> Result<(), Error> {
        if self.position == 0 && !chunk.starts_with(&GZIP) {
            return Err(no_gzip());
        }
        let (organization, id, position) = (self.organization, self.id, self.position);
        store::archive::insert_chunk(self.tx, organization, id, position, chunk).await?;
        self.position += 1;
        Ok(())
    }
}

fn no_gzip() -> Error {
    Error::refused(
        Code::UnsupportedMediaType,
        "the body must be a gzip-compressed tar archive (application/gzip)",
    )
}
