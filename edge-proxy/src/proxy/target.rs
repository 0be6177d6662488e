//! Where an attempt goes: an instance of this region, else the nearest edge of another region that
//! has some, else an instance that is confirmed but does not look healthy.

use std::time::{Duration, Instant};

use domain::id::ServiceId;

use super::{
    Edge,
    context::{RequestCtx, Target},
};
use crate::{
    decide::{MAX_HOPS, Refusal},
    route::table::Route,
    upstream::endpoint::Confirmed,
};

/// How long a request waits for endpoints that nobody has judged yet (after a start, or a change).
const WAIT: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

impl Edge {
    /// The next target. Waits a little while endpoints are being confirmed and probed.
    pub(super) async fn next_target(&self, ctx: &RequestCtx) -> Result<Target, Refusal> {
        let route = ctx.route.as_ref().ok_or(Refusal::Internal)?;
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(target) = self.find(route, ctx) {
                return Ok(target);
            }
            if Instant::now() >= deadline || !self.may_come_up(route.service_id) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.last_resort(route.service_id, ctx)
            .ok_or(Refusal::NoInstance)
    }

    fn find(&self, route: &Route, ctx: &RequestCtx) -> Option<Target> {
        let routes = self.state.routes.load();
        if let Some(pool) = routes.service(route.service_id) {
            if let Some(endpoint) = pool.choose(&ctx.tried.instances, Instant::now()) {
                return Some(Target::Instance {
                    pool: pool.clone(),
                    endpoint,
                });
            }
            self.state.discover(route.service_id);
        }
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

    /// Whether an endpoint of this service waits for its first confirmation or probe.
    fn may_come_up(&self, service: ServiceId) -> bool {
        let routes = self.state.routes.load();
        routes
            .service(service)
            .is_some_and(|pool| pool.all().iter().any(|endpoint| endpoint.awaits_answer()))
    }

    /// Nothing healthy anywhere: an instance that fails its probes may still answer.
    fn last_resort(&self, service: ServiceId, ctx: &RequestCtx) -> Option<Target> {
        let routes = self.state.routes.load();
        let pool = routes.service(service)?;
        let endpoint = pool.all().into_iter().find(|endpoint| {
            endpoint.confirmed() == Confirmed::Yes
                && !ctx.tried.instances.contains(&endpoint.spec.instance_id)
        })?;
        Some(Target::Instance {
            pool: pool.clone(),
            endpoint,
        })
    }
}
