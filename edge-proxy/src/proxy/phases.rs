//! The hooks that Pingora calls, in the order of a request's life.

use std::{
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, header};
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};

use super::{
    Edge, answer,
    begin::connection_of,
    context::{RequestCtx, Target},
    headers::{self, Origin},
    peer::{Exchange, exchange_of, limit},
    retry,
    rules::Ruled,
};
use crate::{
    compress,
    decide::{Decision, Refusal},
    error_page,
    listen::io::Connection,
    upstream::{
        endpoint::Failure,
        timer::{Limit, Step, Timer},
    },
};

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = RequestCtx;

    fn new_ctx(&self) -> RequestCtx {
        RequestCtx::new(Arc::clone(&self.observer))
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(compress::Builder::default()));
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        let Some(connection) = connection_of(session) else {
            return Error::e_explain(ErrorType::InternalError, "a request without a connection");
        };
        self.begin(session, ctx, &connection);
        let decision = self.decide(session, ctx, &connection);
        ctx.connection = Some(connection);
        if let Decision::Serve(route) = &decision {
            answer::compress(session, route);
            ctx.exchange = exchange_of(session, route.protocol);
            let total = limit(route.timeouts.total);
            if let Some(total) = total.filter(|_| ctx.exchange != Exchange::WebSocket) {
                ctx.ends_within(total);
            }
        }
        self.carry_out(session, ctx, decision).await
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<Box<HttpPeer>> {
        ctx.leave();
        ctx.may_follow = retry::costs_nobody(session, ctx);
        let headers = &session.req_header().headers;
        let aim = match self.next_target(headers, ctx).await {
            Ok(aim) => aim,
            Err(refusal) => {
                ctx.target = None;
                ctx.refusal = ctx.refusal.or(Some(refusal));
                return Err(Error::new_in(ErrorType::ConnectNoRoute));
            }
        };
        let Some(route) = &ctx.route else {
            return Error::e_explain(ErrorType::InternalError, "a request without a route");
        };
        let peer = self.peer(&aim.target, &route.timeouts, ctx.exchange, ctx.left());
        ctx.refusal = None;
        ctx.aim(aim, Instant::now());
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
        if ctx.exchange == Exchange::Http
            && let Some(left) = ctx.left()
        {
            let end = vec![Step::always(Limit::Total, left)];
            let socket = self.sockets.get(fd);
            ctx.total_timer = socket.map(|socket| Timer::start(socket, end));
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
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
        if let Some(source) = &ctx.replay_source {
            request.insert_header(headers::REPLAY_SOURCE, source)?;
        }
        request.remove_header(&headers::LAST);
        request.remove_header(&headers::WANTED);
        match &ctx.target {
            Some(Target::Edge(_)) => {
                request.insert_header(headers::HOP, (ctx.hops + 1).to_string())?;
                if ctx.is_last_edge {
                    request.insert_header(headers::LAST, "1")?;
                }
                if let Some(wanted) = ctx.wanted {
                    request.insert_header(headers::WANTED, wanted.to_string())?;
                }
                if ctx.exchange == Exchange::Http {
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
        // The timer ends a connection; those of HTTP/2 carry other requests too, and each has its limit of silence.
        if end_of_stream && !ctx.answered && ctx.exchange != Exchange::Http2 {
            ctx.timer = self.answer_timer(session, ctx);
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
        if self.reached_nobody(session, ctx, response) || self.is_given_back(session, ctx, response)
        {
            let mut error = Error::new_up(ErrorType::ConnectNoRoute);
            error.set_retry(true);
            return Err(error);
        }
        ctx.answer_begins();
        if let Some(Target::Instance {
            pool,
            endpoint,
            is_trial,
        }) = &ctx.target
        {
            match pool.breaker.server_errors && response.status.is_server_error() {
                true => {
                    let now = Instant::now();
                    pool.record_failure(endpoint, Failure::Status, *is_trial, now);
                }
                false => endpoint.request_succeeded(*is_trial),
            }
            // Only an edge may say that an edge answered.
            response.remove_header(error_page::HEADER);
        }
        Ok(())
    }

    /// For connections that several requests share, which no timer may end.
    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut RequestCtx,
    ) -> Result<Option<Duration>> {
        if ctx.is_over() {
            return Err(Error::new_up(ErrorType::ReadTimedout));
        }
        Ok(None)
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
        answer::stay(session.req_header(), response, ctx)?;
        answer::strict_transport(response, ctx)?;
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
