//! The hooks that Pingora calls, in the order of a request's life.

use std::{os::fd::RawFd, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, StatusCode, Version, header};
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};

use super::{
    Edge,
    context::{RequestCtx, Target},
    headers::{self, Origin},
    peer::{Exchange, limit},
    rules::Ruled,
};
use crate::{
    access_log::cut,
    decide::{Decision, Refusal, RequestHead, decide},
    error_page,
    listen::{head, io::Connection},
    route::hostname,
    upstream::first_byte::Timer,
};

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = RequestCtx;

    fn new_ctx(&self) -> RequestCtx {
        RequestCtx::new(Arc::clone(&self.observer))
    }

    /// Compression is the service's own choice; no module is needed.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        let Some(connection) = connection_of(session) else {
            return Error::e_explain(ErrorType::InternalError, "a request without a connection");
        };
        self.begin(session, ctx, &connection);
        let decision = self.decide(session, ctx, &connection);
        ctx.connection = Some(connection);
        self.carry_out(session, ctx, decision).await
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<Box<HttpPeer>> {
        let target = match self.next_target(ctx).await {
            Ok(target) => target,
            Err(refusal) => {
                ctx.target = None;
                ctx.refusal = ctx.refusal.or(Some(refusal));
                return Err(Error::new_in(ErrorType::ConnectNoRoute));
            }
        };
        let Some(route) = &ctx.route else {
            return Error::e_explain(ErrorType::InternalError, "a request without a route");
        };
        let peer = self.peer(&target, &route.timeouts, exchange_of(session));
        ctx.refusal = None;
        ctx.aim(target, Instant::now());
        Ok(Box::new(peer))
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        fd: RawFd,
        _digest: Option<&Digest>,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.upstream = Some(fd);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let Some(connection) = &ctx.connection else {
            return Ok(());
        };
        if connection.info.via.is_none() {
            set_origin_headers(request, connection, ctx, &self.state.region)?;
        }
        if let Some(ruled) = &ctx.ruled {
            ruled.change_request(request)?;
        }
        if let Some(traceparent) = ctx.entry.as_ref().and_then(|e| e.traceparent.as_ref()) {
            request.insert_header(headers::TRACEPARENT, traceparent)?;
        }
        match &ctx.target {
            Some(Target::Edge(_)) => {
                request.insert_header(headers::HOP, (ctx.hops + 1).to_string())?;
                if exchange_of(session) == Exchange::Http {
                    // A stream of a tunnel carries one request.
                    request.insert_header(header::CONNECTION, "close")?;
                }
            }
            _ => {
                request.remove_header(&headers::HOP);
            }
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.received += body.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let max = ctx.route.as_ref().and_then(|route| route.max_body);
        if max.is_some_and(|max| ctx.received > max) {
            ctx.refusal = Some(Refusal::BodyTooLarge);
            return Err(Error::new_down(ErrorType::HTTPStatus(413)));
        }
        // The timer ends a connection; those of gRPC carry other calls too, and each has its limit of silence.
        if end_of_stream && !ctx.answered && exchange_of(session) != Exchange::Grpc {
            self.start_timer(ctx);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let informational = response.status.is_informational()
            && response.status != StatusCode::SWITCHING_PROTOCOLS;
        if informational || ctx.answered {
            return Ok(());
        }
        if self.reached_nobody(session, ctx, response) {
            let mut error = Error::new_up(ErrorType::ConnectNoRoute);
            error.set_retry(true);
            return Err(error);
        }
        ctx.answer_begins();
        if let Some(Target::Instance { endpoint, .. }) = &ctx.target {
            endpoint.request_succeeded();
            // Only an edge may say that an edge answered.
            response.remove_header(error_page::HEADER);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS
            && let Some(connection) = &ctx.connection
        {
            connection.set_upgraded();
        }
        if self.drain.has_begun() {
            // The client is told before it sends its next request here.
            session.set_keepalive(None);
        }
        if let Some(ruled) = &ctx.ruled {
            ruled.change_response(response)?;
        }
        response.insert_header(headers::REQUEST_ID, ctx.request_id())
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut RequestCtx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.connect_failed(ctx, &mut error);
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut RequestCtx,
        client_reused: bool,
    ) -> Box<Error> {
        self.attempt_broke(session, ctx, &mut error, client_reused);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut RequestCtx,
    ) -> FailToProxy {
        let begun = session.response_written().is_some();
        let refusal = self.refusal_of(ctx, error).filter(|_| !begun);
        if let Some(refusal) = refusal
            && let Err(error) = self.refuse(session, ctx, refusal).await
        {
            tracing::debug!(%error, "the client left before its answer");
        }
        FailToProxy {
            error_code: refusal.map_or(0, Refusal::status),
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut RequestCtx) {
        let status = session
            .response_written()
            .map_or(0, |head| head.status.as_u16());
        // A WebSocket is ended with a close frame, by whomever.
        let upgraded = ctx.connection.as_ref().is_some_and(|c| c.is_upgraded());
        let broken = error.is_some_and(|error| *error.esource() != ErrorSource::Downstream);
        let cut = broken && !upgraded && ctx.refusal.is_none();
        let service = ctx.route.as_ref().map(|route| route.service_id);
        let pool = match &ctx.target {
            Some(Target::Instance { pool, .. }) => Some(Arc::clone(pool)),
            _ => service.and_then(|id| self.state.routes.load().service(id).cloned()),
        };
        let ended_by_rule = ctx.ruled.as_deref().is_some_and(Ruled::has_ended_it);
        if let Some(pool) = pool.filter(|_| !ended_by_rule) {
            ctx.count_on(&pool.counter, ctx.has_failed(cut));
        }
        ctx.finish(status, session.body_bytes_sent() as u64, cut);
    }

    /// Failures are in the access log and, once, in the log of the phase that met them.
    fn suppress_error_log(&self, _session: &Session, _ctx: &RequestCtx, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &RequestCtx,
        _error: &Error,
        _context: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Edge {
    /// Names the request and opens its log line and its span.
    fn begin(&self, session: &Session, ctx: &mut RequestCtx, connection: &Connection) {
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

    fn decide(&self, session: &Session, ctx: &mut RequestCtx, connection: &Connection) -> Decision {
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

    fn start_timer(&self, ctx: &mut RequestCtx) {
        let limit = ctx
            .route
            .as_ref()
            .and_then(|route| limit(route.timeouts.first_byte));
        let socket = ctx.upstream.and_then(|fd| self.sockets.get(fd));
        if let (Some(limit), Some(socket)) = (limit, socket) {
            ctx.timer = Some(Timer::start(socket, limit));
        }
    }
}

fn set_origin_headers(
    request: &mut RequestHeader,
    connection: &Connection,
    ctx: &RequestCtx,
    region: &domain::name::Name,
) -> Result<()> {
    let Some(entry) = &ctx.entry else {
        return Ok(());
    };
    let origin = Origin {
        client: connection.info.peer,
        https: connection.info.tls.is_some(),
        host: entry.host.as_deref().unwrap_or_default(),
        region: region.as_str(),
        request_id: &entry.request_id,
    };
    headers::set_origin(request, &origin)
}

fn connection_of(session: &Session) -> Option<Arc<Connection>> {
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

fn exchange_of(session: &Session) -> Exchange {
    if session.is_upgrade_req() {
        Exchange::WebSocket
    } else if headers::is_grpc(&session.req_header().headers) {
        Exchange::Grpc
    } else {
        Exchange::Http
    }
}

const fn protocol_of(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
