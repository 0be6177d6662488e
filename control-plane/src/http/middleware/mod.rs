//! What every request passes, outermost first: the door of a full replica, a request id and a span, its body, a place
//! at work, limits of rate, who asks, the handler under a time limit, an audit event for what was denied or failed, and
//! the headers that every answer has.

mod audit;
mod body;
mod door;
mod gate;
mod headers;
mod limit;
mod metrics;
mod upload;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State as Shared},
    middleware::Next,
    response::Response,
};
use http::{StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::Instrument as _;
use uuid::Uuid;

use api::problem::Code;

use crate::{State, app, identity::Actor};

use super::Failure;

pub use audit::Operations;
pub use body::{Bodies, Received};
pub use door::Door;
pub use gate::Gate;
use limit::Account;
pub use limit::Limits;
use upload::Upload;

/// An answer must have begun by then.
const TIMEOUT: Duration = Duration::from_secs(30);
/// An upload must have ended by then.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(900);

/// Names a request in answers, logs, traces and the audit log.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

impl RequestId {
    fn new() -> Self {
        Self(format!("req_{}", Uuid::now_v7().simple()))
    }
}

/// What the layer needs beside the state.
#[derive(Clone)]
pub struct Layer {
    /// What all parts share.
    pub state: State,
    /// Which action a route is.
    pub operations: Operations,
    /// How many requests may be at work.
    pub gate: Arc<Gate>,
    /// Reads bodies before that.
    pub bodies: Arc<Bodies>,
}

/// The one layer around all routes.
pub async fn layer(Shared(layer): Shared<Layer>, mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    request.extensions_mut().insert(id.clone());
    let route = route(&request).to_owned();
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        http.request.method = %request.method(),
        http.route = route,
        request_id = id.0,
        http.response.status_code = tracing::field::Empty,
    );
    if let Some(parent) = traceparent(&request) {
        telemetry::context::set_parent(&span, parent);
    }
    let observed = metrics::Observation::begin(request.method(), &route);
    let mut response = admitted(&layer, request, next, &id)
        .instrument(span.clone())
        .await;
    headers::add(response.headers_mut(), &id);
    span.record("http.response.status_code", response.status().as_u16());
    observed.end(response.status());
    response
}

fn traceparent(request: &Request) -> Option<&str> {
    request.headers().get("traceparent")?.to_str().ok()
}

/// The place is given back when the answer begins: who reads a stream takes none.
async fn admitted(layer: &Layer, mut request: Request, next: Next, id: &RequestId) -> Response {
    // An upload takes as long as its client likes, and has places of its own.
    if is_upload(&request) {
        let upload = Upload::lend(&mut request);
        let response = handle(layer, request, next, id).await;
        let limit = layer.state.config.limits.archive.0;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        upload.discard_rest(most).await;
        return response;
    }
    let _room = match layer.bodies.receive(&mut request).await {
        Ok(room) => room,
        Err(refused) => return refused.render(&id.0),
    };
    match layer.gate.enter().await {
        Ok(_place) => handle(layer, request, next, id).await,
        Err(gate::Overloaded) => overloaded().render(&id.0),
    }
}

fn overloaded() -> Failure {
    let detail = "more is asked for than can be answered at the moment; try again";
    Failure::new(Code::Unavailable, detail)
}

fn route(request: &Request) -> &str {
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or("", MatchedPath::as_str)
}

/// By its route: somebody's variable may be called archives.
fn is_upload(request: &Request) -> bool {
    route(request).ends_with("/archives")
}

async fn handle(layer: &Layer, mut request: Request, next: Next, id: &RequestId) -> Response {
    let limits = &layer.state.limits;
    let spent = match limits.admit(Account::of_address(&request)).await {
        Ok(spent) => spent,
        Err(refused) => return refused.render(&id.0),
    };
    let token = bearer(&request);
    let recognised = recognise(&layer.state, token).await;
    let (attempt, result) = match recognised {
        Err(failure) => (audit::Attempt::of(&request, None), Err(failure)),
        Ok(actor) => {
            let attempt = audit::Attempt::of(&request, actor.as_ref());
            let account = actor.as_ref().map(|a| Account::of_actor(a, &request));
            let spent = match account {
                None => Ok(spent),
                Some(account) => limits.admit(account).await,
            };
            match spent {
                Err(refused) => return refused.render(&id.0),
                Ok(spent) => {
                    if let Some(actor) = actor {
                        request.extensions_mut().insert(actor);
                    }
                    let mut response = run(request, next).await;
                    spent.add_headers(response.headers_mut());
                    (attempt, Ok(response))
                }
            }
        }
    };
    finish(layer, attempt, result, id).await
}

/// Renders a failure, and writes it down first where that is due.
async fn finish(
    layer: &Layer,
    attempt: audit::Attempt,
    result: Result<Response, Failure>,
    id: &RequestId,
) -> Response {
    let (failure, rate_headers) = match result {
        Err(failure) => (failure, None),
        Ok(mut response) => match response.extensions_mut().remove::<Failure>() {
            Some(failure) => (failure, Some(std::mem::take(response.headers_mut()))),
            None => match foreign_failure(&response) {
                Some(failure) => (failure, None),
                None => return response,
            },
        },
    };
    let failure = match attempt.record(layer, &failure, id).await {
        Ok(()) => failure,
        Err(error) => app::Error::from(error).into(),
    };
    let mut response = failure.render(&id.0);
    for (name, value) in rate_headers.unwrap_or_default() {
        if let Some(name) = name.filter(limit::is_rate_header) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn bearer(request: &Request) -> Option<SecretString> {
    let value = request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| SecretString::from(token.trim()))
}

/// Who asks; none when the request brings no bearer token.
async fn recognise(state: &State, token: Option<SecretString>) -> Result<Option<Actor>, Failure> {
    let Some(token) = token else { return Ok(None) };
    let actor = state.sessions.authenticate(token.expose_secret()).await;
    Ok(Some(actor.map_err(app::Error::from)?))
}

async fn run(request: Request, next: Next) -> Response {
    let limit = if is_upload(&request) {
        UPLOAD_TIMEOUT
    } else {
        TIMEOUT
    };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => axum::response::IntoResponse::into_response(Failure::new(
            Code::Unavailable,
            format!("no answer within {} seconds; try again", limit.as_secs()),
        )),
    }
}

/// Failures that the router itself answered, as ours.
fn foreign_failure(response: &Response) -> Option<Failure> {
    let status = response.status();
    match status {
        StatusCode::NOT_FOUND => Some(Failure::new(
            Code::NotFound,
            "there is no such route; /v1/openapi.json lists all",
        )),
        StatusCode::METHOD_NOT_ALLOWED => Some(Failure::new(
            Code::MethodNotAllowed,
            "this path has other methods; /v1/openapi.json lists them",
        )),
        _ if status.is_server_error() => Some(Failure::new(
            Code::Internal,
            "a fault of the platform; its operator finds more in the log under this request id",
        )),
        _ if status.is_client_error() => Some(Failure::new(
            Code::MalformedBody,
            "the request is malformed",
        )),
        _ => None,
    }
}
