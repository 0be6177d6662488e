//! `POST /node/v1/logs`: log lines of a node's own instances and builds, on their way to the log
//! store.

use axum::{Json, extract};
use protocol::log::{LogBatch, LogSource};

use super::{Error, Node};
use crate::{
    State,
    logs::Origin,
    store::{log_origin, tx::SystemTx},
};

/// `POST /node/v1/logs`
pub(super) async fn logs(
    extract::State(state): extract::State<State>,
    node: Node,
    Json(batches): Json<Vec<LogBatch>>,
) -> Result<Json<serde_json::Value>, Error> {
    for batch in &batches {
        let origin = origin(&state, &node, batch.source).await?;
        state.logs.append(&origin, batch).await?;
    }
    Ok(Json(serde_json::json!({})))
}

/// The log store remembers a source longer than the platform remembers an ended instance.
async fn origin(state: &State, node: &Node, source: LogSource) -> Result<Origin, Error> {
    let unknown = || Error::UnknownLogSource(format!("{source:?}"));
    if let Some(origin) = state.logs.origin(source).await? {
        return (origin.node == node.id)
            .then_some(origin)
            .ok_or_else(unknown);
    }
    let mut tx = SystemTx::begin(&state.pools).await?;
    log_origin::find(&mut tx, node.id, source)
        .await?
        .ok_or_else(unknown)
}
