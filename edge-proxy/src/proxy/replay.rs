//! An instance may give a request back to be answered elsewhere, as Fly.io has it: by a header in its answer, which the user
//! does not get then. `fly-replay: region=eu-west`, `fly-replay: instance=ins_…`, or both, with `;` between, and `state=…` for the one
//! who answers. The edge that the user came to sends the request anew, once, if it still has all of its body.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::{id::InstanceId, name::Name};
use http::{HeaderMap, HeaderName};
use pingora::{http::ResponseHeader, proxy::Session};

use super::{
    Edge,
    context::{Aim, RequestCtx, Target},
    headers,
};
use crate::{decide::Refusal, route::Route};

/// What the answer says.
const HEADER: HeaderName = HeaderName::from_static("fly-replay");
/// Bytes of a state that is handed on.
const STATE_MAX: usize = 512;

/// Where a request shall be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// In this region; none: in that of the instance that gave it back.
    pub region: Option<Name>,
    /// By this instance, if it can be used.
    pub instance: Option<InstanceId>,
    state: Option<String>,
}

impl Replay {
    /// As an answer says. None for what is not understood (`app=`, `elsewhere=`): such an answer goes to the user.
    fn of(response: &HeaderMap) -> Option<Self> {
        let mut replay = Self {
            region: None,
            instance: None,
            state: None,
        };
        for part in headers::text(response, &HEADER)?.split(';') {
            let (name, value) = part.split_once('=')?;
            let value = value.trim();
            match name.trim() {
                "region" => replay.region = Some(value.parse().ok()?),
                "instance" => replay.instance = Some(value.parse().ok()?),
                "state" if value.len() <= STATE_MAX => replay.state = Some(value.to_owned()),
                _ => return None,
            }
        }
        let is_somewhere = replay.region.is_some() || replay.instance.is_some();
        is_somewhere.then_some(replay)
    }

    /// What the one who answers learns of it.
    fn source(&self, region: &Name, instance: Option<InstanceId>) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let micros = since.map_or(0, |elapsed| elapsed.as_micros());
        let instance = instance.map(|id| format!("instance={id};"));
        let state = self.state.as_ref().map(|state| format!(";state={state}"));
        format!(
            "{}region={region};t={micros}{}",
            instance.unwrap_or_default(),
            state.unwrap_or_default()
        )
    }
}

impl Edge {
    /// Whether the request is answered elsewhere, because this answer says so. It is then when it is tried again.
    pub(super) fn is_given_back(
        &self,
        session: &Session,
        ctx: &mut RequestCtx,
        response: &ResponseHeader,
    ) -> bool {
        let is_first_edge = ctx
            .connection
            .as_ref()
            .is_some_and(|c| c.info.via.is_none());
        let has_body = !session.as_ref().retry_buffer_truncated();
        if !is_first_edge || !has_body || ctx.replay.is_some() {
            return false;
        }
        let Some((replay, route)) = Replay::of(&response.headers).zip(ctx.route.as_ref()) else {
            return false;
        };
        let own = &self.state.region;
        let region = replay.region.as_ref();
        if region.is_some_and(|region| region != own && !route.regions.contains(region)) {
            return false;
        }
        let (from, instance) = match &ctx.target {
            Some(Target::Instance {
                endpoint, is_trial, ..
            }) => {
                endpoint.request_succeeded(*is_trial);
                (own, Some(endpoint.spec.instance_id))
            }
            Some(Target::Edge(edge)) => (&edge.region, None),
            None => return false,
        };
        ctx.replay_source = Some(replay.source(from, instance));
        // An instance of no named region is where the one is that named it.
        let region = replay.region.clone().unwrap_or_else(|| from.clone());
        ctx.wanted = replay.instance;
        ctx.replay = Some(region);
        ctx.refusal = None;
        self.observer.metrics.replay();
        true
    }

    /// The nearest edge of the region where an instance wants the request to be answered; none when that is this one.
    pub(super) fn replayed(
        &self,
        route: &Route,
        ctx: &mut RequestCtx,
    ) -> Option<Result<Aim, Refusal>> {
        let region = ctx
            .replay
            .clone()
            .filter(|region| *region != self.state.region)?;
        let routes = self.state.routes.load();
        let candidates = self.links.candidates(
            route.service_id,
            routes.edges(),
            std::slice::from_ref(&region),
            &[],
            &ctx.tried.edges,
        );
        ctx.is_last_edge = true;
        let nearest = candidates.into_iter().next().ok_or(Refusal::NoInstance);
        Some(nearest.map(|edge| Aim {
            target: Target::Edge(edge),
            running: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Replay> {
        let value = HeaderValue::from_str(text).ok()?;
        Replay::of(&HeaderMap::from_iter([(HEADER, value)]))
    }

    #[test]
    fn a_region_an_instance_or_both_are_understood_and_nothing_else_is() {
        let instance = InstanceId::new();
        let both = read(&format!("region=eu-west; instance={instance}; state=a=b")).unwrap();
        assert_eq!(both.region, Some("eu-west".parse().unwrap()));
        assert_eq!(
            (both.instance, both.state.as_deref()),
            (Some(instance), Some("a=b"))
        );
        assert!(read("region=eu-west").is_some_and(|r| r.instance.is_none()));
        assert!(read(&format!("instance={instance}")).is_some_and(|r| r.region.is_none()));
        for other in [
            "",
            "eu-west",
            "region=",
            "region=EU WEST",
            "instance=1",
            "app=other",
            "region=eu-west;app=other",
            "elsewhere=true",
            "state=x",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(Replay::of(&HeaderMap::new()), None);
    }

    #[test]
    fn who_answers_learns_where_the_request_was() {
        let (region, instance) = ("us-east".parse().unwrap(), InstanceId::new());
        let replay = read("region=eu-west;state=seen").unwrap();
        let source = replay.source(&region, Some(instance));
        let parts: Vec<&str> = source.split(';').collect();
        let wanted = format!("instance={instance}");
        assert!(
            matches!(parts[..], [i, "region=us-east", t, "state=seen"] if i == wanted && t.starts_with("t="))
        );
    }

    proptest! {
        #[test]
        fn rubbish_is_refused_without_harm(text in "[ -~]{0,60}") {
            if let Some(replay) = read(&text) {
                prop_assert!(replay.region.is_some() || replay.instance.is_some());
            }
        }
    }
}
