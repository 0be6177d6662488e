//! Log lines as NDJSON, one record per line, with `follow` until the client leaves.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use http::header;
use tokio::sync::mpsc::Sender;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::{
    log::{BuildLogQuery, LogQuery, LogRecord},
    problem::Code,
};
use domain::id::{DeploymentId, ServiceId};

use crate::{
    State,
    app::{self, Context},
};

use super::{
    answer::Result,
    extract::{Path, Query},
};

/// Between two looks at the store.
const POLL: Duration = Duration::from_millis(500);
/// Looks without a line before a sign of life is sent.
const QUIET_POLLS: u32 = 20;
/// Records that wait for a slow reader.
const BUFFER: usize = 1_024;
/// A reader that takes nothing for so long is let go.
const STALLED: Duration = Duration::from_secs(60);

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(of_service))
        .routes(routes!(of_build))
}

/// The log of a service's instances, as NDJSON.
#[utoipa::path(
    get,
    path = "/v1/services/{service_id}/logs",
    operation_id = "service.logs",
    tag = "log",
    params(("service_id" = ServiceId, Path), LogQuery),
    responses((
        status = 200,
        description = "One record per line.",
        body = LogRecord,
        content_type = "application/x-ndjson",
    )),
)]
async fn of_service(
    context: Context,
    Path(id): Path<ServiceId>,
    Query(query): Query<LogQuery>,
) -> Result<Response> {
    let follow = query.follow;
    let (first, stream) = app::log::of_service(&context, id, query).await?;
    Ok(respond(context, first, stream, follow))
}

/// The log of a deployment's build, as NDJSON; with `follow` until the build ends.
#[utoipa::path(
    get,
    path = "/v1/deployments/{deployment_id}/logs",
    operation_id = "deployment.logs",
    tag = "log",
    params(("deployment_id" = DeploymentId, Path), BuildLogQuery),
    responses((
        status = 200,
        description = "One record per line.",
        body = LogRecord,
        content_type = "application/x-ndjson",
    )),
)]
async fn of_build(
    context: Context,
    Path(id): Path<DeploymentId>,
    Query(query): Query<BuildLogQuery>,
) -> Result<Response> {
    let (first, stream) = app::log::of_build(&context, id, &query).await?;
    Ok(respond(context, first, stream, query.follow))
}

fn respond(
    context: Context,
    first: Vec<LogRecord>,
    stream: app::log::Stream,
    follow: bool,
) -> Response {
    let (sender, receiver) = tokio::sync::mpsc::channel(BUFFER);
    tokio::spawn(async move {
        // The stream lives until the last record is read: it holds the reader's place.
        let mut stream = stream;
        if !send(&sender, first).await || !follow {
            return;
        }
        tokio::select! {
            () = context.state.shutdown.cancelled() => {}
            () = sender.closed() => {}
            () = go_on(&context, &mut stream, &sender) => {}
        }
    });
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

async fn go_on(context: &Context, stream: &mut app::log::Stream, sender: &Sender<Line>) {
    let mut quiet = 0;
    loop {
        tokio::time::sleep(POLL).await;
        let records = match stream.next(context).await {
            Ok(Some(records)) => records,
            Err(error) if matches!(error.code(), Code::Unavailable | Code::RateLimited) => {
                Vec::new()
            }
            Ok(None) | Err(_) => return,
        };
        quiet = if records.is_empty() { quiet + 1 } else { 0 };
        let records = if quiet >= QUIET_POLLS {
            quiet = 0;
            vec![LogRecord::Idle]
        } else {
            records
        };
        if !send(sender, records).await {
            return;
        }
    }
}

type Line = std::result::Result<Bytes, std::convert::Infallible>;

/// False when the reader has left, or has stopped reading.
async fn send(sender: &Sender<Line>, records: Vec<LogRecord>) -> bool {
    for record in records {
        let Ok(mut line) = serde_json::to_vec(&record) else {
            continue;
        };
        line.push(b'\n');
        let sent = sender.send_timeout(Ok(Bytes::from(line)), STALLED).await;
        if sent.is_err() {
            return false;
        }
    }
    true
}
