//! Where an attempt goes: an instance of this region, else the nearest edge of another region that
//! has some, else an instance that is confirmed but does not look healthy.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{id::ServiceId, spec::Sticky};
use http::HeaderMap;

use super::{
    Edge,
    context::{RequestCtx, Target},
    sticky,
};
use crate::{
    decide::{MAX_HOPS, Refusal},
    route::Route,
    upstream::{
        endpoint::{Confirmed, Endpoint},
        pool::ServicePool,
    },
};

/// How long a request waits in all for endpoints that nobody has judged yet (after a start, or a change), and for
/// those that took connections a moment ago.
pub(super) const WAIT: Duration = Duration::from_secs(3);
/// What has refused connections for longer is not waited for: requests to a dead application fail at once.
const MOMENT: Duration = Duration::from_secs(5);
/// How long a request waits for the first probe of an instance here before it goes to another region: after a start
/// of this edge it is a matter of milliseconds, and the other region is far, or away.
const FIRST_PROBE: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(20);

impl Edge {
    /// The next target. Waits a little while endpoints are being confirmed and probed. Nothing of the request has
    /// been sent to an instance that refused the connection, so whatever it is, it may be sent there later.
    pub(super) async fn next_target(
        &self,
        headers: &HeaderMap,
        ctx: &mut RequestCtx,
    ) -> Result<Target, Refusal> {
        let route = ctx.route.clone().ok_or(Refusal::Internal)?;
        if let Some(rested) = ctx.rests_until.take() {
            tokio::time::sleep_until(rested.into()).await;
        }
        loop {
            if ctx.is_over() {
                return Err(Refusal::TotalTimeout);
            }
            if let Some(target) = self.here(&route, headers, ctx) {
                return Ok(target);
            }
            let probed_soon = ctx.elapsed() < FIRST_PROBE
                && self.any_watched(route.service_id, Endpoint::awaits_probe);
            if !probed_soon && let Some(target) = self.elsewhere(&route, ctx) {
                return Ok(target);
            }
            let now = Instant::now();
            if !self.may_come_up(route.service_id, now)
                || now >= *ctx.waits_until.get_or_insert(now + WAIT)
            {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.last_resort(route.service_id, ctx)
            .ok_or(Refusal::NoInstance)
    }

    /// An instance of this region that looks healthy: the one that the user was with, else one of the deployment that the
    /// request is for, else one of the service's own.
    fn here(&self, route: &Route, headers: &HeaderMap, ctx: &RequestCtx) -> Option<Target> {
        let routes = self.state.routes.load();
        let service = routes.service(route.service_id)?;
        let part = service.part(headers, ctx.draw);
        let own = (!Arc::ptr_eq(part, service)).then_some(service);
        let target = stays(route, service, headers, ctx)
            .or_else(|| of_part(part, ctx))
            .or_else(|| of_part(own?, ctx));
        if target.is_none() {
            self.state.discover(route.service_id);
        }
        target
    }

    /// The nearest edge of another region.
    fn elsewhere(&self, route: &Route, ctx: &RequestCtx) -> Option<Target> {
        let routes = self.state.routes.load();
        if ctx.hops + 1 >= MAX_HOPS && ctx.hops > 0 {
            return None;
        }
        let via = ctx.connection.as_ref().and_then(|c| c.info.via.as_ref());
        let passed: Vec<_> = std::iter::once(&self.state.region)
            .chain(via.map(|via| &via.region))
            .collect();
        self.links
            .candidates(routes.edges(), &route.regions, &passed, &ctx.tried.edges)
            .into_iter()
            .next()
            .map(Target::Edge)
    }

    /// Whether an endpoint of this service waits for its first confirmation or probe, or was there a moment ago.
    fn may_come_up(&self, service: ServiceId, now: Instant) -> bool {
        self.any_watched(service, |endpoint| {
            endpoint.awaits_answer() || endpoint.may_come_back(MOMENT, now)
        })
    }

    fn any_watched(&self, service: ServiceId, is_one: impl Fn(&Endpoint) -> bool) -> bool {
        let routes = self.state.routes.load();
        let mut found = false;
        if let Some(pool) = routes.service(service) {
            for part in pool.parts() {
                part.each_watched(|endpoint| found |= is_one(endpoint));
            }
        }
        found
    }

    /// Nothing healthy anywhere: an instance that fails its probes may still answer.
    fn last_resort(&self, service: ServiceId, ctx: &RequestCtx) -> Option<Target> {
        let (routes, now) = (self.state.routes.load(), Instant::now());
        let untried = |endpoint: &Arc<Endpoint>| {
            let instance = &endpoint.spec.instance_id;
            endpoint.confirmed() == Confirmed::Yes
                && !ctx.tried.instances.contains(instance)
                && !ctx.tried.refused.contains(instance)
        };
        let mut parts = routes.service(service)?.parts();
        parts.find_map(|part| {
            let endpoint = part.all(now).into_iter().find(|e| untried(e))?;
            Some(Target::Instance {
                pool: Arc::clone(part),
                is_trial: endpoint.is_ejected(),
                endpoint,
            })
        })
    }
}

/// The instance that the request's cookie names.
fn stays(
    route: &Route,
    service: &Arc<ServicePool>,
    headers: &HeaderMap,
    ctx: &RequestCtx,
) -> Option<Target> {
    if route.sticky == Sticky::Off {
        return None;
    }
    let tried = &ctx.tried.instances;
    let of_tag = |tag| {
        let mut parts = service.parts();
        parts.find_map(|part| Some((part, part.usable_by_tag(tag, tried)?)))
    };
    let (part, endpoint) = sticky::wanted(headers).find_map(of_tag)?;
    Some(Target::Instance {
        pool: Arc::clone(part),
        endpoint,
        is_trial: false,
    })
}

/// One that can be used, or one whose turn to be tried has come.
fn of_part(part: &Arc<ServicePool>, ctx: &RequestCtx) -> Option<Target> {
    let (tried, now) = (&ctx.tried.instances, Instant::now());
    let trial = part.take_trial(tried, ctx.may_follow, now);
    let is_trial = trial.is_some();
    let endpoint = trial.or_else(|| part.choose(tried, now))?;
    Some(Target::Instance {
        pool: Arc::clone(part),
        endpoint,
        is_trial,
    })
}
