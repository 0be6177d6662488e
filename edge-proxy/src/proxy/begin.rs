//! The begin of a request: its name, its line in the log, its span, and what shall happen to it.

use std::sync::Arc;

use http::{HeaderName, Version, header};
use pingora::{http::RequestHeader, proxy::Session};

use super::{Edge, context::RequestCtx, headers};
use crate::{
    access_log::cut,
    decide::{Decision, Refusal, RequestHead, decide},
    listen::{head, io::Connection},
    route::hostname,
};

impl Edge {
    /// Names the request and opens its log line and its span.
    pub(super) fn begin(&self, session: &Session, ctx: &mut RequestCtx, connection: &Connection) {
        let request = session.req_header();
        let mut entry = self.observer.entry(&connection.info);
        let trusted = connection.info.via.is_some();
        let given = |name: HeaderName| headers::text(&request.headers, &name).filter(|_| trusted);
        entry.request_id = given(headers::REQUEST_ID)
            .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
        if let Some(client) = headers::real_ip(&request.headers).filter(|_| trusted) {
            entry.client = client;
        }
        entry.method = cut(request.method.as_str());
        entry.path = cut(request.uri.path());
        entry.protocol = protocol_of(request.version);
        entry.user_agent = headers::text(&request.headers, &header::USER_AGENT).map(cut);
        ctx.wanted = given(headers::WANTED).and_then(|id| id.parse().ok());
        ctx.may_wait = !trusted || request.headers.contains_key(headers::LAST);
        ctx.hops = if trusted {
            headers::hops(&request.headers)
        } else {
            0
        };
        ctx.span = tracing::info_span!(
            "request",
            otel.kind = "server",
            request_id = %entry.request_id,
            http.request.method = %entry.method,
            url.path = %entry.path,
            server.address = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
        );
        let parent = given(headers::TRACEPARENT);
        if let Some(parent) = parent {
            telemetry::context::set_parent(&ctx.span, parent);
        }
        let current = ctx.span.in_scope(telemetry::context::current_traceparent);
        entry.traceparent = current
            .or_else(|| parent.map(str::to_owned))
            .or_else(|| Some(headers::new_traceparent()));
        ctx.entry = Some(entry);
    }

    pub(super) fn decide(
        &self,
        session: &Session,
        ctx: &mut RequestCtx,
        connection: &Connection,
    ) -> Decision {
        let request = session.req_header();
        let path_and_query = request
            .uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        if request.headers.len() > head::MAX_FIELDS {
            return Decision::Refuse(Refusal::HeaderTooLarge);
        }
        let authority = authority_of(request);
        if let (Some(entry), Some(authority)) = (&mut ctx.entry, authority) {
            entry.host = hostname::of_authority(authority).map(std::borrow::Cow::into_owned);
            ctx.span.record("server.address", entry.host.as_deref());
        }
        let head = RequestHead {
            authority,
            path_and_query,
            content_length: headers::text(&request.headers, &header::CONTENT_LENGTH)
                .and_then(|text| text.parse().ok()),
            hops: ctx.hops,
        };
        decide(&head, &connection.info, &self.state.routes.load())
    }
}

/// Who is at the other end.
pub(super) fn connection_of(session: &Session) -> Option<Arc<Connection>> {
    let digest = session.digest()?.proxy_digest.as_ref()?;
    let connection = digest.user_data.as_ref()?;
    connection.downcast_ref::<Arc<Connection>>().cloned()
}

fn authority_of(request: &RequestHeader) -> Option<&str> {
    request
        .uri
        .authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| headers::text(&request.headers, &header::HOST))
}

const fn protocol_of(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
