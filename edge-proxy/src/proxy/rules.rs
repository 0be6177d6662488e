//! A service's rules in Pingora's phases: asked once, at the first edge that a request comes to. Another edge takes what
//! that one has decided.

use std::{num::NonZeroU32, sync::Arc};

use domain::spec::EdgeAction;
use http::{HeaderName, HeaderValue, Uri, header, uri::PathAndQuery};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};
use rules::{Decision, HeaderEdits, Place, Quota, Request, Verdict};

use super::{Edge, context::RequestCtx, failure::Answer};
use crate::{decide::Refusal, rule::ServiceRules};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
/// Says that edges don't count together at the moment.
const DEGRADED: HeaderName = HeaderName::from_static("x-railhead-limit");

/// What a service's rules have decided about a request.
#[derive(Debug)]
pub struct Ruled {
    rules: Arc<ServiceRules>,
    decision: Decision,
}

impl Edge {
    /// Asks the rules of the request's service. True when the request is answered.
    pub(super) async fn by_rules(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<bool> {
        if self.lacks_rules(ctx) {
            self.refuse(session, ctx, Refusal::RulesMissing).await?;
            return Ok(true);
        }
        let Some(ruled) = self.ask_rules(session, ctx) else {
            return Ok(false);
        };
        self.write_down(&ruled, ctx);
        let answered = self.carry_out_rules(session, ctx, &ruled).await;
        ctx.ruled = Some(Box::new(ruled));
        answered
    }

    /// The first edge of a request has to ask, and has nothing to ask: what came in its routes could not be used.
    fn lacks_rules(&self, ctx: &RequestCtx) -> bool {
        let is_first = ctx
            .connection
            .as_ref()
            .is_some_and(|c| c.info.via.is_none());
        let route = ctx.route.as_ref().filter(|route| route.ruled && is_first);
        route.is_some_and(|route| {
            let routes = self.state.routes.load();
            routes.rules(route.service_id).is_none()
        })
    }

    /// None when there is nobody to ask, or another edge has asked.
    fn ask_rules(&self, session: &Session, ctx: &RequestCtx) -> Option<Ruled> {
        let (route, connection) = (ctx.route.as_ref()?, ctx.connection.as_ref()?);
        if connection.info.via.is_some() {
            return None;
        }
        let routes = self.state.routes.load();
        let rules = Arc::clone(routes.rules(route.service_id)?);
        let edges = u32::try_from(routes.edges().len()).unwrap_or(u32::MAX);
        let edges = NonZeroU32::new(edges).unwrap_or(NonZeroU32::MIN);
        let head = session.req_header();
        let asked = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let host = ctx.entry.as_ref()?.host.as_deref().unwrap_or_default();
        let client = connection.info.peer;
        let mut request = Request::new(head.method.as_str(), asked, host, &head.headers, client);
        request.region = self.state.region.as_str();
        request.tls = connection.info.tls.is_some();
        request.place = match rules.rules().needs_place() {
            true => self.state.geo.place(client),
            false => Place::default(),
        };
        let decision = rules.decide(&request, &self.state.limits, edges);
        Some(Ruled { rules, decision })
    }

    /// In the access log and the metrics.
    fn write_down(&self, ruled: &Ruled, ctx: &mut RequestCtx) {
        let Some(service) = ctx.route.as_ref().map(|route| route.service_id) else {
            return;
        };
        let (decided, dry_run) = (ruled.decision.decided_by, ruled.decision.dry_run);
        for (index, is_dry) in [(decided, false), (dry_run, true)] {
            if let Some(action) = index.and_then(|index| ruled.rules.rules().action(index)) {
                let metrics = &self.observer.metrics;
                metrics.rule_decision(service, action.word(), is_dry);
            }
        }
        if let Some(entry) = &mut ctx.entry {
            let label = |index: usize| ruled.rules.rules().label(index).to_owned();
            entry.rule = decided.map(label);
            entry.rule_dry_run = dry_run.map(label);
        }
    }

    async fn carry_out_rules(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        ruled: &Ruled,
    ) -> Result<bool> {
        let refusal = match &ruled.decision.verdict {
            Verdict::Pass => return Ok(false),
            Verdict::Redirect { status, location } => {
                self.redirect(session, ctx, *status, location).await?;
                return Ok(true);
            }
            Verdict::Block { status } => Refusal::Blocked(*status),
            Verdict::RateLimited(_) => Refusal::RateLimited,
            Verdict::Unauthorized => Refusal::Unauthorized,
            Verdict::Maintenance => Refusal::Maintenance,
        };
        self.refuse_with(session, ctx, refusal, &ruled.answer())
            .await?;
        Ok(true)
    }
}

impl Ruled {
    /// Whether the request never came to an instance.
    #[must_use]
    pub fn has_ended_it(&self) -> bool {
        self.decision.verdict != Verdict::Pass
    }

    /// What an answer says besides what its refusal says.
    fn answer(&self) -> Answer {
        let mut answer = Answer::default();
        if let Verdict::RateLimited(quota) = self.decision.verdict {
            answer.headers.extend(of_quota(quota));
            let seconds = whole_seconds(quota).max(1);
            answer.headers.push((header::RETRY_AFTER, seconds.into()));
        }
        let index = self.decision.decided_by.unwrap_or_default();
        match self.rules.rules().action(index) {
            Some(EdgeAction::BasicAuth(auth)) => {
                let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", auth.realm);
                if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                    answer.headers.push((header::WWW_AUTHENTICATE, challenge));
                }
            }
            Some(EdgeAction::Maintenance(maintenance)) => {
                if let Some(after) = maintenance.retry_after {
                    let seconds = after.as_millis().div_ceil(1_000);
                    answer.headers.push((header::RETRY_AFTER, seconds.into()));
                }
                answer.detail.clone_from(&maintenance.message);
            }
            _ => {}
        }
        answer
    }

    /// Changes what an instance, or another region, is asked.
    ///
    /// # Errors
    /// When the new path makes no address.
    pub fn change_request(&self, request: &mut RequestHeader) -> Result<()> {
        if let Some(path) = &self.decision.rewritten {
            let mut parts = request.uri.clone().into_parts();
            parts.path_and_query = Some(path.clone());
            let Ok(uri) = Uri::from_parts(parts) else {
                return Error::e_explain(
                    ErrorType::InternalError,
                    "a rule's path makes no address",
                );
            };
            request.set_uri(uri);
        }
        for (edits, _) in self.header_edits() {
            for name in &edits.remove {
                request.remove_header(name);
            }
            for (name, value) in &edits.set {
                request.insert_header(name, value.clone())?;
            }
        }
        Ok(())
    }

    /// Changes an answer.
    ///
    /// # Errors
    /// Never: names and values are headers.
    pub fn change_response(&self, response: &mut ResponseHeader) -> Result<()> {
        for (_, edits) in self.header_edits() {
            for name in &edits.remove {
                response.remove_header(name);
            }
            for (name, value) in &edits.set {
                response.insert_header(name, value.clone())?;
            }
        }
        for (name, value) in self.decision.quota.into_iter().flat_map(of_quota) {
            response.insert_header(name, value)?;
        }
        Ok(())
    }

    fn header_edits(&self) -> impl Iterator<Item = (&HeaderEdits, &HeaderEdits)> {
        let rules = self.rules.rules();
        let indices = self.decision.headers.iter();
        indices.filter_map(move |index| rules.header_edits(*index))
    }
}

/// As the control plane's own limits are told.
fn of_quota(quota: Quota) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let degraded = (DEGRADED, HeaderValue::from_static("degraded"));
    [
        (LIMIT, quota.limit.into()),
        (REMAINING, quota.remaining.into()),
        (RESET, whole_seconds(quota).into()),
    ]
    .into_iter()
    .chain(quota.degraded.then_some(degraded))
}

fn whole_seconds(quota: Quota) -> u64 {
    quota.reset.as_secs() + u64::from(quota.reset.subsec_nanos() > 0)
}
