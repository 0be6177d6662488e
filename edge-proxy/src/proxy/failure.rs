//! What a failed attempt means: for its endpoint, for the request (again elsewhere, or an answer of
//! our own), and for the client.

use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, header};
use pingora::{Error, ErrorSource, ErrorType, Result, http::ResponseHeader, proxy::Session};

use super::{
    Edge, answer,
    context::{RequestCtx, Target},
    headers,
    target::WAIT,
};
use crate::{
    decide::{Decision, Refusal},
    error_page,
    upstream::{connect::EXHAUSTED, endpoint::Failure, timer::Limit},
};

/// Where connections hang instead of being refused, each attempt takes seconds: no further one begins after this.
const CONNECTING_FOR: Duration = Duration::from_secs(60);

/// Between two attempts of one request while this edge is exhausted.
const REST: Duration = Duration::from_millis(100);

/// What an answer of the edge's own says besides what its refusal says.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// More headers.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// In the place of the refusal's own words.
    pub(super) detail: Option<String>,
}

impl Edge {
    /// No connection: nothing was sent, so any request may be tried elsewhere, by an edge that asked this one as well.
    pub(super) fn connect_failed(&self, ctx: &mut RequestCtx, error: &mut Error) {
        if *error.etype() == EXHAUSTED {
            return self.has_no_means(ctx, error);
        }
        self.blame(ctx, Failure::Connect, error);
        ctx.refusal = Some(Refusal::NoInstance);
        error.set_retry(ctx.elapsed() < CONNECTING_FOR);
        self.observer.metrics.retry();
    }

    /// It says nothing about who was to be reached. Others may finish meanwhile: the same is tried again for a while.
    fn has_no_means(&self, ctx: &mut RequestCtx, error: &mut Error) {
        self.observer.metrics.upstream_failure("exhausted");
        ctx.refusal = Some(Refusal::Internal);
        let next = Instant::now() + REST;
        if next < *ctx.waits_until.get_or_insert(next + WAIT) {
            ctx.rests_until = Some(next);
            error.set_retry(true);
            self.observer.metrics.retry();
            return;
        }
        error.set_retry(false);
        tracing::error!(request_id = ctx.request_id(), %error, "this edge has no descriptor, memory or local port left: raise its limits (LimitNOFILE)");
    }

    /// The attempt broke after the connection stood. It is tried again only when the request is
    /// idempotent and no answer has begun.
    pub(super) fn attempt_broke(
        &self,
        session: &Session,
        ctx: &mut RequestCtx,
        error: &mut Error,
        reused: bool,
    ) {
        if *error.etype() == ErrorType::ConnectNoRoute {
            return;
        }
        error.set_retry(false);
        if *error.esource() != ErrorSource::Upstream {
            return;
        }
        let expired = match ctx.is_over() {
            true => Some(Limit::Total),
            false => ctx.expired(),
        };
        let is_to_blame = match expired {
            // It is no fault to answer for longer than the service allows.
            Some(Limit::Total) => !ctx.answered,
            Some(Limit::PerTry | Limit::FirstByte) => true,
            // A kept connection that the instance had closed says nothing about the instance.
            None => !reused,
        };
        if is_to_blame {
            self.blame(ctx, Failure::Answer, error);
        }
        if ctx.answered {
            return;
        }
        ctx.refusal = Some(match expired {
            Some(Limit::PerTry | Limit::FirstByte) => Refusal::FirstByteTimeout,
            Some(Limit::Total) => Refusal::TotalTimeout,
            None => Refusal::InstanceFailed,
        });
        let again = self.tries_again(session, ctx, expired, reused);
        error.set_retry(again);
    }

    /// Another region's edge found no instance either, or none with room, so nothing has begun: the next one is asked.
    pub(super) fn reached_nobody(
        &self,
        session: &Session,
        ctx: &mut RequestCtx,
        response: &ResponseHeader,
    ) -> bool {
        let Some(Target::Edge(edge)) = &ctx.target else {
            return false;
        };
        let code = response.headers.get(error_page::HEADER);
        let says = |refusal: Refusal| code.is_some_and(|code| code == refusal.code());
        let is_full = says(Refusal::OverCapacity);
        let nobody = is_full || says(Refusal::NoInstance);
        if !nobody || session.as_ref().retry_buffer_truncated() {
            return false;
        }
        if let Some(route) = &ctx.route {
            self.links.lacks(edge.node_id, route.service_id);
        }
        ctx.tried.full |= is_full;
        ctx.tried.edges.push(edge.node_id);
        true
    }

    fn blame(&self, ctx: &mut RequestCtx, failure: Failure, error: &Error) {
        match &ctx.target {
            Some(Target::Instance {
                pool,
                endpoint,
                is_trial,
            }) => {
                self.observer.metrics.upstream_failure(match failure {
                    Failure::Connect | Failure::Silence => "connect",
                    Failure::Answer | Failure::Status => "answer",
                });
                tracing::warn!(instance = %endpoint.spec.instance_id, address = %endpoint.spec.address,
                    request_id = ctx.request_id(), %error, "an instance failed a request");
                pool.record_failure(endpoint, failure, *is_trial, Instant::now());
                if failure == Failure::Connect {
                    ctx.tried.refused.push(endpoint.spec.instance_id);
                    self.state.endpoints_changed();
                } else {
                    ctx.tried.instances.push(endpoint.spec.instance_id);
                }
            }
            Some(Target::Edge(edge)) => {
                self.observer.metrics.upstream_failure("region");
                tracing::warn!(region = %edge.region, edge = %edge.node_id,
                    request_id = ctx.request_id(), %error, "another region failed a request");
                ctx.tried.edges.push(edge.node_id);
            }
            None => {}
        }
    }

    /// The code of the answer that the client gets for this error; none when the client is gone.
    pub(super) fn refusal_of(&self, ctx: &RequestCtx, error: &Error) -> Option<Refusal> {
        if let ErrorType::HTTPStatus(413) = error.etype() {
            return Some(Refusal::BodyTooLarge);
        }
        match error.esource() {
            ErrorSource::Downstream => match error.etype() {
                ErrorType::InvalidHTTPHeader => Some(Refusal::BadRequest),
                ErrorType::ReadTimedout => Some(Refusal::HeaderTimeout),
                _ => None,
            },
            ErrorSource::Upstream => ctx.refusal.or(Some(Refusal::InstanceFailed)),
            ErrorSource::Internal | ErrorSource::Unset => ctx.refusal.or(Some(Refusal::Internal)),
        }
    }

    /// Answers in the edge's own name.
    pub(super) async fn refuse(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        refusal: Refusal,
    ) -> Result<()> {
        let mut answer = Answer::default();
        if let Some(seconds) = refusal.retry_after() {
            let seconds = HeaderValue::from_static(seconds);
            answer.headers.push((header::RETRY_AFTER, seconds));
        }
        self.refuse_with(session, ctx, refusal, &answer).await
    }

    /// The same with more to say.
    pub(super) async fn refuse_with(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        refusal: Refusal,
        answer: &Answer,
    ) -> Result<()> {
        ctx.refusal = Some(refusal);
        if refusal == Refusal::BadRequest {
            // What follows on this connection could be read in two ways as well.
            session.set_keepalive(None);
        }
        let accept = headers::text(&session.req_header().headers, &header::ACCEPT);
        let page = match &answer.detail {
            Some(detail) => error_page::render_saying(refusal, detail, accept, ctx.request_id()),
            None => error_page::render(refusal, accept, ctx.request_id()),
        };
        let mut head = ResponseHeader::build(refusal.status(), Some(8))?;
        head.insert_header(header::CONTENT_TYPE, page.content_type)?;
        head.insert_header(HeaderName::from_static(error_page::HEADER), refusal.code())?;
        for (name, value) in &answer.headers {
            head.insert_header(name, value.clone())?;
        }
        self.answer(session, ctx, head, page.body).await
    }

    /// Sends the client elsewhere.
    pub(super) async fn redirect(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        status: u16,
        location: &str,
    ) -> Result<()> {
        let mut head = ResponseHeader::build(status, Some(6))?;
        head.insert_header(header::LOCATION, location)?;
        self.answer(session, ctx, head, String::new()).await
    }

    async fn answer(
        &self,
        session: &mut Session,
        ctx: &RequestCtx,
        mut head: ResponseHeader,
        body: String,
    ) -> Result<()> {
        head.insert_header(header::CONTENT_LENGTH, body.len().to_string())?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        head.insert_header(headers::REQUEST_ID, ctx.request_id())?;
        answer::strict_transport(&mut head, ctx)?;
        let bodyless = body.is_empty() || session.req_header().method == http::Method::HEAD;
        session
            .write_response_header(Box::new(head), bodyless)
            .await?;
        if !bodyless {
            session.write_response_body(Some(body.into()), true).await?;
        }
        Ok(())
    }

    /// Carries a decision out. True when the request is answered.
    pub(super) async fn carry_out(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        decision: Decision,
    ) -> Result<bool> {
        match decision {
            Decision::Serve(route) => {
                ctx.route = Some(route);
                self.by_rules(session, ctx).await
            }
            Decision::Redirect { location } => {
                // Keeps method and body.
                self.redirect(session, ctx, 308, &location).await?;
                Ok(true)
            }
            Decision::Challenge { key_authorization } => {
                let mut head = ResponseHeader::build(200, Some(6))?;
                head.insert_header(header::CONTENT_TYPE, "application/octet-stream")?;
                let body = (*key_authorization).to_owned();
                self.answer(session, ctx, head, body).await?;
                Ok(true)
            }
            Decision::Refuse(refusal) => {
                self.refuse(session, ctx, refusal).await?;
                Ok(true)
            }
        }
    }
}
