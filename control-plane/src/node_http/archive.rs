//! `GET /node/v1/archives/{id}`: an uploaded working tree, for the node that builds it.

use axum::{
    body::Body,
    extract::{self, Path},
    http::header,
    response::{IntoResponse, Response},
};
use domain::id::ArchiveId;
use futures::stream;

use super::{Error, Node};
use crate::{
    State,
    store::{archive, build, tx::SystemTx},
};

/// `GET /node/v1/archives/{id}`
pub(super) async fn archive(
    extract::State(state): extract::State<State>,
    node: Node,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let missing = || Error::NoArchive(id.chars().take(64).collect());
    let archive: ArchiveId = id.parse().map_err(|_| missing())?;
    let mut tx = SystemTx::begin(&state.pools).await?;
    if !build::needs_archive(&mut tx, node.id, archive).await? {
        return Err(missing());
    }
    let chunks = stream::try_unfold((tx, 0), move |(mut tx, position)| async move {
        let chunk = archive::read_chunk(&mut tx, archive, position).await?;
        Ok::<_, crate::store::Error>(chunk.map(|chunk| (chunk, (tx, position + 1))))
    });
    let body = Body::from_stream(chunks);
    Ok(([(header::CONTENT_TYPE, "application/gzip")], body).into_response())
}
