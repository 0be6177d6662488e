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
    context::{Aim, RequestCtx, Target},
    peer::limit,
    sticky,
};
use crate::{
    decide::{MAX_HOPS, Refusal},
    metrics::Open,
    route::Route,
    upstream::{
        endpoint::{Confirmed, Endpoint, tag_of},
        pool::{ServicePool, Waiting},
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
/// How long a request waits for room at most where its service has no limit for the first byte.
const QUEUED_FOR: Duration = Duration::from_secs(60);
/// How often one is chosen anew that has no room any more.
const CHOICES: usize = 8;

/// What there is for a request in this region.
enum Here {
    /// An instance takes it.
    Aim(Aim),
    /// There are instances, and all have as much to do as they may, or others wait for them already.
    Full(Arc<ServicePool>),
    /// Nobody.
    Nobody,
}

impl Edge {
    /// The next target. Waits a little while endpoints are being confirmed and probed, and longer for room where all have as
    /// much to do as they may. Nothing of the request has been sent to an instance that refused the connection, so
    /// whatever it is, it may be sent there later.
    pub(super) async fn next_target(
        &self,
        headers: &HeaderMap,
        ctx: &mut RequestCtx,
    ) -> Result<Aim, Refusal> {
        let route = ctx.route.clone().ok_or(Refusal::Internal)?;
        if let Some(rested) = ctx.rests_until.take() {
            tokio::time::sleep_until(rested.into()).await;
        }
        if let Some(aim) = self.replayed(&route, ctx) {
            return aim;
        }
        let mut queued: Option<Queued> = None;
        loop {
            if ctx.is_over() {
                return Err(Refusal::TotalTimeout);
            }
            let full = match self.here(&route, headers, ctx, queued.is_some()) {
                Here::Aim(aim) => return Ok(aim),
                Here::Full(service) => Some(service),
                Here::Nobody => None,
            };
            let probed_soon = ctx.elapsed() < FIRST_PROBE
                && self.any_watched(route.service_id, Endpoint::awaits_probe);
            if !probed_soon && let Some(aim) = self.elsewhere(&route, ctx, full.is_some()) {
                return Ok(aim);
            }
            if let Some(service) = full {
                match &queued {
                    Some(queued) if queued.is_over() => return Err(Refusal::OverCapacity),
                    Some(queued) => queued.waiting.next().await,
                    None => match self.queue(&service, &route, ctx) {
                        Some(joined) => queued = Some(joined),
                        None => return self.at_last(&route, headers, ctx),
                    },
                }
                continue;
            }
            queued = None;
            let now = Instant::now();
            if !self.may_come_up(route.service_id, now)
                || now >= *ctx.waits_until.get_or_insert(now + WAIT)
            {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let nobody = match ctx.tried.full {
            true => Refusal::OverCapacity,
            false => Refusal::NoInstance,
        };
        self.last_resort(route.service_id, ctx).ok_or(nobody)
    }

    /// An instance of this region that looks healthy: the one that the user was with, else one of the deployment that the
    /// request is for, else one of the service's own. Who was not `queued` comes behind those who are.
    fn here(&self, route: &Route, headers: &HeaderMap, ctx: &RequestCtx, queued: bool) -> Here {
        let routes = self.state.routes.load();
        let Some(service) = routes.service(route.service_id) else {
            return Here::Nobody;
        };
        if service.has_queue() && !queued {
            return Here::Full(Arc::clone(service));
        }
        let part = service.part(headers, ctx.draw);
        let own = (!Arc::ptr_eq(part, service)).then_some(service);
        let aim = stays(route, service, headers, ctx)
            .or_else(|| of_part(part, ctx))
            .or_else(|| of_part(own?, ctx));
        if let Some(aim) = aim {
            return Here::Aim(aim);
        }
        let now = Instant::now();
        if service
            .parts()
            .any(|p| p.is_full(&ctx.tried.instances, now))
        {
            return Here::Full(Arc::clone(service));
        }
        self.state.discover(route.service_id);
        Here::Nobody
    }

    /// A place among those who wait for room. None when there is none, or another edge has sent the request, which knows
    /// other regions.
    fn queue(&self, service: &ServicePool, route: &Route, ctx: &RequestCtx) -> Option<Queued> {
        let waiting = ctx.may_wait.then(|| service.queue()).flatten()?;
        let patience = limit(route.timeouts.first_byte).unwrap_or(QUEUED_FOR);
        Some(Queued {
            waiting,
            until: Instant::now().checked_add(patience),
            _shown: self.observer.metrics.wait(),
        })
    }

    /// Nobody else may wait. Those who do may not have seen yet that there is room.
    fn at_last(
        &self,
        route: &Route,
        headers: &HeaderMap,
        ctx: &RequestCtx,
    ) -> Result<Aim, Refusal> {
        match self.here(route, headers, ctx, true) {
            Here::Aim(aim) => Ok(aim),
            Here::Full(_) | Here::Nobody => Err(Refusal::OverCapacity),
        }
    }

    /// The nearest edge of another region.
    fn elsewhere(&self, route: &Route, ctx: &mut RequestCtx, has_instances: bool) -> Option<Aim> {
        let routes = self.state.routes.load();
        if ctx.hops + 1 >= MAX_HOPS && ctx.hops > 0 {
            return None;
        }
        let via = ctx.connection.as_ref().and_then(|c| c.info.via.as_ref());
        let passed: Vec<_> = std::iter::once(&self.state.region)
            .chain(via.map(|via| &via.region))
            .collect();
        let candidates = self.links.candidates(
            route.service_id,
            routes.edges(),
            &route.regions,
            &passed,
            &ctx.tried.edges,
        );
        ctx.is_last_edge = candidates.len() == 1 && !has_instances;
        let nearest = candidates.into_iter().next()?;
        Some(Aim {
            target: Target::Edge(nearest),
            running: None,
        })
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
    fn last_resort(&self, service: ServiceId, ctx: &RequestCtx) -> Option<Aim> {
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
            let is_trial = endpoint.is_ejected();
            at(part, endpoint, is_trial)
        })
    }
}

/// A request that waits for room.
struct Queued {
    waiting: Waiting,
    until: Option<Instant>,
    _shown: Open,
}

impl Queued {
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// The instance that another one, or else the request's cookie, names.
fn stays(
    route: &Route,
    service: &Arc<ServicePool>,
    headers: &HeaderMap,
    ctx: &RequestCtx,
) -> Option<Aim> {
    let tried = &ctx.tried.instances;
    let of_tag = |tag| {
        let mut parts = service.parts();
        parts.find_map(|part| at(part, part.usable_by_tag(tag, tried)?, false))
    };
    let named = ctx.wanted.map(tag_of);
    let cookies = (route.sticky == Sticky::Cookie).then(|| sticky::wanted(headers));
    named
        .into_iter()
        .chain(cookies.into_iter().flatten())
        .find_map(of_tag)
}

/// One that can be used, or one whose turn to be tried has come.
fn of_part(part: &Arc<ServicePool>, ctx: &RequestCtx) -> Option<Aim> {
    let (tried, now) = (&ctx.tried.instances, Instant::now());
    let trial = part.take_trial(tried, ctx.may_follow, now);
    let trial = trial.and_then(|endpoint| at(part, endpoint, true));
    // Another request may take the last room of the one that was chosen.
    let choices = std::iter::repeat_with(|| part.choose(tried, now)).take(CHOICES);
    let mut chosen = choices.map_while(std::convert::identity);
    trial.or_else(|| chosen.find_map(|endpoint| at(part, endpoint, false)))
}

/// None when it has no room.
fn at(part: &Arc<ServicePool>, endpoint: Arc<Endpoint>, is_trial: bool) -> Option<Aim> {
    let running = part.begin(&endpoint)?;
    Some(Aim {
        target: Target::Instance {
            pool: Arc::clone(part),
            endpoint,
            is_trial,
        },
        running: Some(running),
    })
}
