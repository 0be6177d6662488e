//! Where an attempt goes: an instance of this region, else the nearest edge of another region that
//! has some, else an instance that is confirmed but does not look healthy.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::id::ServiceId;

use super::{
    Edge,
    context::{RequestCtx, Target},
};
use crate::{
    decide::{MAX_HOPS, Refusal},
    route::Route,
    upstream::endpoint::{Confirmed, Endpoint},
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
    pub(super) async fn next_target(&self, ctx: &mut RequestCtx) -> Result<Target, Refusal> {
        let route = ctx.route.clone().ok_or(Refusal::Internal)?;
        if let Some(rested) = ctx.rests_until.take() {
            tokio::time::sleep_until(rested.into()).await;
        }
        loop {
            if ctx.is_over() {
                return Err(Refusal::TotalTimeout);
            }
            if let Some(target) = self.here(&route, ctx) {
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

    /// An instance of this region that looks healthy.
    fn here(&self, route: &Route, ctx: &RequestCtx) -> Option<Target> {
        let (routes, now) = (self.state.routes.load(), Instant::now());
        let pool = routes.service(route.service_id)?;
        let trial = pool.take_trial(&ctx.tried.instances, ctx.may_follow, now);
        let is_trial = trial.is_some();
        let endpoint = trial.or_else(|| pool.choose(&ctx.tried.instances, now));
        if endpoint.is_none() {
            self.state.discover(route.service_id);
        }
        endpoint.map(|endpoint| Target::Instance {
            pool: Arc::clone(pool),
            endpoint,
            is_trial,
        })
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
            pool.each_watched(|endpoint| found |= is_one(endpoint));
        }
        found
    }

    /// Nothing healthy anywhere: an instance that fails its probes may still answer.
    fn last_resort(&self, service: ServiceId, ctx: &RequestCtx) -> Option<Target> {
        let routes = self.state.routes.load();
        let pool = routes.service(service)?;
        let endpoint = pool.all(Instant::now()).into_iter().find(|endpoint| {
            endpoint.confirmed() == Confirmed::Yes
                && !ctx.tried.instances.contains(&endpoint.spec.instance_id)
                && !ctx.tried.refused.contains(&endpoint.spec.instance_id)
        })?;
        Some(Target::Instance {
            pool: Arc::clone(pool),
            is_trial: endpoint.is_ejected(),
            endpoint,
        })
    }
}
