//! Reads requests: JSON bodies and queries that refuse unknown fields and name what is wrong, ids in
//! paths, `If-Match`, and creates that can be repeated.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path as AxumPath, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header, request::Parts};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use api::{page::PageQuery, problem::Code};

use crate::{
    State,
    app::{Context, idempotency, version::Expected},
    audit,
    identity::Actor,
    store::page::Paging,
};

use super::{
    Failure,
    middleware::{Received, RequestId},
};

impl FromRequestParts<State> for Context {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Failure> {
        let actor = parts.extensions.get::<Actor>().cloned().ok_or_else(|| {
            Failure::new(
                Code::Unauthenticated,
                "sign in (railhead login) or send a token: Authorization: Bearer …",
            )
        })?;
        Ok(Self {
            state: state.clone(),
            source: source(parts, actor.audit_id()),
            actor,
            traceparent: telemetry::context::current_traceparent(),
            idempotency: None,
        })
    }
}

/// Who asks, for the audit log.
pub(super) fn source(parts: &Parts, actor: audit::ActorId) -> audit::Source {
    let peer = parts.extensions.get::<crate::listen::Peer>();
    let request_id = parts.extensions.get::<RequestId>();
    audit::Source {
        actor,
        address: peer.map(|peer| peer.address.ip()),
        request_id: request_id.map(|id| id.0.clone()).unwrap_or_default(),
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<State> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &State) -> Result<Self, Failure> {
        let (mut parts, _) = request.into_parts();
        let body = received(&mut parts)?;
        parse(&parts.headers, &body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A create: its context knows the `Idempotency-Key`.
pub struct Create<T>(pub Context, pub T);

impl<T: DeserializeOwned> FromRequest<State> for Create<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &State) -> Result<Self, Failure> {
        let (mut parts, _) = request.into_parts();
        let mut context = Context::from_request_parts(&mut parts, state).await?;
        let body = received(&mut parts)?;
        if let Some(text) = idempotency_key(&parts.headers)? {
            let head = format!("{} {}\n", parts.method, parts.uri.path());
            let request_hash = Sha256::new_with_prefix(head).chain_update(&body).finalize();
            context.idempotency = Some(idempotency::Key {
                text,
                request_hash: request_hash.into(),
            });
        }
        Ok(Self(context, parse(&parts.headers, &body)?))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if (1..=255).contains(&text.len()) {
        return Ok(Some(text.to_owned()));
    }
    Err(Failure::new(
        Code::MalformedHeader,
        "Idempotency-Key must have 1 to 255 visible characters",
    ))
}

/// What the middleware has read before the request got its place at work.
fn received(parts: &mut Parts) -> Result<Bytes, Failure> {
    match parts.extensions.remove() {
        Some(Received(body)) => body,
        None => Ok(Bytes::new()),
    }
}

fn parse<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Failure> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !body.is_empty() && !essence.eq_ignore_ascii_case("application/json") {
        return Err(Failure::new(
            Code::UnsupportedMediaType,
            "this route takes a body of the type application/json",
        ));
    }
    // A create whose fields are all optional may come without a body.
    let body = if body.is_empty() { b"{}" } else { body };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        body_failure(&path, error.inner())
    })?;
    deserializer
        .end()
        .map_err(|error| Failure::new(Code::MalformedBody, format!("the body: {error}")))?;
    Ok(value)
}

fn body_failure(path: &str, error: &serde_json::Error) -> Failure {
    if !error.is_data() {
        return Failure::new(
            Code::MalformedBody,
            format!("the body is not well-formed JSON: {error}"),
        );
    }
    let message = error.to_string();
    let reason = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(reason, _)| reason);
    let code = if reason.starts_with("unknown field") {
        Code::UnknownField
    } else {
        Code::InvalidField
    };
    Failure::field(code, if path == "." { "body" } else { path }, reason)
}

/// A query that refuses unknown fields.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<State> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Failure> {
        let axum::extract::Query(value) = axum::extract::Query::try_from_uri(&parts.uri)
            .map_err(|error| Failure::new(Code::MalformedQuery, error.body_text()))?;
        Ok(Self(value))
    }
}

impl FromRequestParts<State> for Paging {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Failure> {
        let Query(query) = Query::<PageQuery>::from_request_parts(parts, state).await?;
        Ok(Self::parse(&query)?)
    }
}

/// Typed parts of the path. A text that is no id names nothing, so it is not found.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<State> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Failure> {
        let AxumPath(value) = AxumPath::from_request_parts(parts, state)
            .await
            .map_err(|error| Failure::new(Code::NotFound, error.body_text()))?;
        Ok(Self(value))
    }
}

/// `If-Match`, which updates need.
pub struct IfMatch(pub Expected);

/// `If-Match`, where it may be left out.
pub struct OptionalIfMatch(pub Option<Expected>);

impl OptionalIfMatch {
    /// Any version when it was left out.
    #[must_use]
    pub fn or_any(self) -> Expected {
        self.0.unwrap_or(Expected::Any)
    }
}

impl FromRequestParts<State> for IfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Failure> {
        if_match(&parts.headers)?.map(Self).ok_or_else(|| {
            Failure::new(
                Code::VersionRequired,
                "send the ETag that was read as If-Match (or * to change whatever is there)",
            )
        })
    }
}

impl FromRequestParts<State> for OptionalIfMatch {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Failure> {
        if_match(&parts.headers).map(Self)
    }
}

fn if_match(headers: &HeaderMap) -> Result<Option<Expected>, Failure> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Some(Expected::Any));
    }
    let version = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse().ok());
    version.map(|v| Some(Expected::Version(v))).ok_or_else(|| {
        Failure::new(
            Code::MalformedHeader,
            "If-Match must be an ETag of this API, such as \"3\", or *",
        )
    })
}

#[cfg(test)]
mod tests {
    use api::{project::CreateProject, service::CreateService};
    use http::HeaderValue;

    use super::*;

    fn failure<T: DeserializeOwned>(body: &str) -> Failure {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        parse::<T>(&headers, body.as_bytes()).err().unwrap()
    }

    #[test]
    fn what_is_wrong_with_a_body_is_named_with_its_field() {
        for (body, code, field) in [
            (r#"{"name":"web","nmae":1}"#, Code::UnknownField, "nmae"),
            (r#"{"name":"Web"}"#, Code::InvalidField, "name"),
            (r#"{}"#, Code::InvalidField, "body"),
        ] {
            let failure = failure::<CreateProject>(body);
            assert_eq!(failure.code, code, "{body}");
            assert_eq!(failure.errors.first().unwrap().field, field, "{body}");
        }
        let failure = failure::<CreateService>(r#"{"name":"a","spec":{"scale":{"regoins":{}}}}"#);
        assert_eq!(failure.code, Code::UnknownField);
        assert_eq!(failure.errors.first().unwrap().field, "spec.scale.regoins");
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for body in ["{", "nope", r#"{"name":"web"} more"#] {
            assert_eq!(failure::<CreateProject>(body).code, Code::MalformedBody);
        }
    }

    #[test]
    fn an_etag_is_a_quoted_version() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_static(text));
            if_match(&headers).map_err(|failure| failure.code)
        };
        assert_eq!(read("\"3\""), Ok(Some(Expected::Version(3))));
        assert_eq!(read("*"), Ok(Some(Expected::Any)));
        assert_eq!(read("3"), Err(Code::MalformedHeader));
        assert_eq!(if_match(&HeaderMap::new()).ok(), Some(None));
    }
}
