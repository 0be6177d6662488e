//! When an attempt is given up, and whether another one follows it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pingora::proxy::Session;

use super::{
    Edge,
    context::{RequestCtx, Target},
    peer::limit,
};
use crate::upstream::timer::{Limit, Step, Timer};

impl Edge {
    /// Ends the attempt when no answer begins in time: early, where another instance can be tried. None where the
    /// connection has no socket of its own: the edge at its other end keeps the time.
    pub(super) fn answer_timer(&self, session: &Session, ctx: &RequestCtx) -> Option<Timer> {
        let socket = ctx.upstream.and_then(|fd| self.sockets.get(fd))?;
        let route = ctx.route.as_ref()?;
        let first_byte = limit(route.timeouts.first_byte);
        let per_try = limit(route.retries.per_try)
            .filter(|per_try| first_byte.is_none_or(|all| *per_try < all))
            .filter(|_| may_follow(session, ctx));
        let early = per_try.and_then(|after| early(ctx, after));
        let last = first_byte.map(|after| Step::always(Limit::FirstByte, after));
        let steps: Vec<Step> = early.into_iter().chain(last).collect();
        (!steps.is_empty()).then(|| Timer::start(socket, steps))
    }

    /// Whether another attempt follows this one, which broke on a connection that was `reused` from an earlier request
    /// or not. If so, it is counted.
    pub(super) fn tries_again(
        &self,
        session: &Session,
        ctx: &mut RequestCtx,
        expired: Option<Limit>,
        reused: bool,
    ) -> bool {
        if !may_follow(session, ctx) {
            return false;
        }
        let may = match (expired, &ctx.target) {
            // The timer has asked.
            (Some(Limit::PerTry), _) => true,
            (Some(Limit::FirstByte | Limit::Total), _) => return false,
            // The connection ended between two requests: nobody had more to do.
            (None, _) if reused => true,
            (None, Some(Target::Instance { is_trial: true, .. })) => true,
            (None, Some(Target::Instance { pool, .. })) => pool.shared.retries.take(Instant::now()),
            (None, _) => true,
        };
        if may {
            ctx.tried.broken += 1;
            self.observer.metrics.retry();
        } else {
            self.observer.metrics.retry_refused();
        }
        may
    }
}

/// Whether the request may be sent once more, as far as itself and its service are concerned.
fn may_follow(session: &Session, ctx: &RequestCtx) -> bool {
    let attempts = ctx.route.as_ref().map(|route| route.retries.attempts);
    session.req_header().method.is_idempotent()
        && !session.as_ref().retry_buffer_truncated()
        && attempts.is_some_and(|attempts| ctx.tried.broken < attempts)
}

/// Whether the request may be sent once more for certain, before anything of it is sent.
pub(super) fn costs_nobody(session: &mut Session, ctx: &RequestCtx) -> bool {
    // A body may turn out to be too long to be kept.
    may_follow(session, ctx) && session.as_mut().is_body_empty()
}

fn early(ctx: &RequestCtx, after: Duration) -> Option<Step> {
    let Some(Target::Instance {
        pool,
        endpoint,
        is_trial,
    }) = &ctx.target
    else {
        return None;
    };
    let is_trial = *is_trial;
    let (pool, mut tried) = (Arc::clone(pool), ctx.tried.instances.clone());
    tried.push(endpoint.spec.instance_id);
    let may_end = move || {
        let now = Instant::now();
        let has_other = pool.choose(&tried, now).is_some();
        has_other && (is_trial || pool.shared.retries.take(now))
    };
    Some(Step {
        limit: Limit::PerTry,
        after,
        may_end: Box::new(may_end),
    })
}
