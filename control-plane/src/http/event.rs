//! `/v1/organizations/{organization_id}/events`: server-sent events with resume.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State as Shared,
    response::{
        Sse,
        sse::{self, KeepAlive},
    },
};
use futures::Stream;
use http::HeaderMap;
use utoipa_axum::{router::OpenApiRouter, routes};

use api::problem::Code;
use domain::id::OrganizationId;

use crate::{
    State,
    app::{self, Context},
    waker::Topic,
};

use super::{Failure, answer::Result, extract::Path};

/// Wake-ups can be lost: look at least this often.
const POLL: Duration = Duration::from_secs(2);
/// So that silence means a broken line.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Its routes.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// Follows what happens in an organization. `Last-Event-ID` resumes; the event `reset` means that
/// what followed it is not kept any more.
#[utoipa::path(
    get,
    path = "/v1/organizations/{organization_id}/events",
    operation_id = "event.stream",
    tag = "event",
    params(
        ("organization_id" = OrganizationId, Path),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event seen."),
    ),
    responses((
        status = 200,
        description = "Events, each with its sequence as id.",
        body = api::event::Event,
        content_type = "text/event-stream",
    )),
)]
async fn stream(
    Shared(state): Shared<State>,
    context: Context,
    Path(organization): Path<OrganizationId>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = std::result::Result<sse::Event, Infallible>>>> {
    let last = last_event_id(&headers)?;
    let opened = app::event::open(&context, organization, last).await?;
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(follow(state, context, opened)).keep_alive(keep_alive))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        Failure::new(
            Code::MalformedHeader,
            "Last-Event-ID must be the id of an event of this stream",
        )
    })
}

fn follow(
    state: State,
    context: Context,
    mut opened: app::event::Stream,
) -> impl Stream<Item = std::result::Result<sse::Event, Infallible>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        let mut wake = state.waker.subscribe(Topic::Events);
        if opened.reset {
            let reset = sse::Event::default()
                .event("reset")
                .id(opened.position.to_string())
                .data("{}");
            if sender.send(Ok(reset)).await.is_err() {
                return;
            }
        }
        loop {
            wake.mark_unchanged();
            match opened.next(&context).await {
                Ok(events) => {
                    for event in events {
                        if sender.send(Ok(frame(&event))).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) if error.code() == Code::Unavailable => {}
                Err(_) => return,
            }
            tokio::select! {
                () = sender.closed() => return,
                () = state.shutdown.cancelled() => return,
                _ = wake.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

fn frame(event: &api::event::Event) -> sse::Event {
    let data = serde_json::to_string(event).unwrap_or_default();
    sse::Event::default()
        .id(event.sequence.to_string())
        .event(&event.kind)
        .data(data)
}
