//! What an item can't say, however well it is signed: it is refused, and the last good one with its id stands.

use domain::spec::{EdgeRule, Probe, check_hsts, check_rules, is_path_prefix, is_probe_path};
use serde::Deserialize as _;

use super::{Endpoint, Match, RoutePolicy, ServicePolicy, Split};

/// Ten times what a service may have in a region (`domain::spec::REPLICAS_MAX`): more is a mistake, and
/// each costs an edge memory, a question to its agent and probes.
pub const ENDPOINTS_MAX: usize = 1_000;

/// A change of versions has two; nobody compares more than a few.
const SPLITS_MAX: usize = 8;
const MATCHES_MAX: usize = 16;
/// Bytes of a header's or cookie's name or value that a request is told by.
const MARK_MAX: usize = 256;

pub(super) fn of_endpoints<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Endpoint>, D::Error> {
    let endpoints = Vec::<Endpoint>::deserialize(deserializer)?;
    if endpoints.len() > ENDPOINTS_MAX {
        return Err(serde::de::Error::custom(format!(
            "{} endpoints, more than the {ENDPOINTS_MAX} that a service may have",
            endpoints.len()
        )));
    }
    Ok(endpoints)
}

/// Of a service's rules: whatever was checked when they were saved is checked again.
pub(super) fn of_rules<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<EdgeRule>, D::Error> {
    let rules = Vec::<EdgeRule>::deserialize(deserializer)?;
    match check_rules(&rules).into_iter().next() {
        Some(fault) => Err(serde::de::Error::custom(fault)),
        None => Ok(rules),
    }
}

/// Of an edge's probe. It becomes part of a request as it is: nothing else may come along with it.
pub(super) fn of_health<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let path = Option::<String>::deserialize(deserializer)?;
    check(path.as_deref())?;
    Ok(path)
}

/// Of an agent's.
pub(super) fn of_probe<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Probe>, D::Error> {
    let probe = Option::<Probe>::deserialize(deserializer)?;
    check(probe.as_ref().and_then(|probe| probe.path.as_deref()))?;
    Ok(probe)
}

/// It becomes part of a path, and of an answer, as it is.
pub(super) fn of_token<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<String, D::Error> {
    let token = String::deserialize(deserializer)?;
    if is_base64url(&token) {
        return Ok(token);
    }
    Err(serde::de::Error::custom(
        "the token of a challenge has 1 to 256 letters, digits, \"-\" and \"_\" (RFC 8555 §8)",
    ))
}

pub(super) fn of_key_authorization<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.split_once('.') {
        Some((token, thumbprint)) if is_base64url(token) && is_base64url(thumbprint) => Ok(text),
        _ => Err(serde::de::Error::custom(
            "a key authorization is a token, a dot and a thumbprint (RFC 8555 §8.1)",
        )),
    }
}

fn is_base64url(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=256).contains(&text.len()) && text.bytes().all(legal)
}

/// Of a hostname's item.
pub(super) fn of_path<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let path = Option::<String>::deserialize(deserializer)?;
    match path {
        Some(path) if !is_path_prefix(&path) => Err(serde::de::Error::custom(format!(
            "{:?} is no beginning of a path that requests could be routed by",
            path.chars().take(64).collect::<String>()
        ))),
        path => Ok(path),
    }
}

pub(super) fn of_route_policy<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<RoutePolicy, D::Error> {
    let policy = RoutePolicy::deserialize(deserializer)?;
    if let Some(retries) = policy.retries {
        holds("retries", retries.check())?;
    }
    if let Some(hsts) = policy.hsts {
        holds("hsts", check_hsts(hsts))?;
    }
    Ok(policy)
}

pub(super) fn of_service_policy<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<ServicePolicy, D::Error> {
    let policy = ServicePolicy::deserialize(deserializer)?;
    if let Some(breaker) = policy.breaker {
        holds("breaker", breaker.check())?;
    }
    if let Some(limits) = policy.limits {
        holds("limits", limits.check())?;
    }
    Ok(policy)
}

fn holds<E: serde::de::Error>(field: &str, checked: Result<(), &'static str>) -> Result<(), E> {
    checked.map_err(|reason| E::custom(format!("{field}: {reason}")))
}

/// Of a service's item.
pub(super) fn of_splits<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Split>, D::Error> {
    let splits = Vec::<Split>::deserialize(deserializer)?;
    let weight: u32 = splits.iter().map(|split| u32::from(split.weight)).sum();
    if splits.len() > SPLITS_MAX || weight > 100 {
        return Err(serde::de::Error::custom(format!(
            "{} splits with {weight} % of the requests: {SPLITS_MAX} with 100 % are the most",
            splits.len()
        )));
    }
    Ok(splits)
}

/// Of a split.
pub(super) fn of_matches<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Match>, D::Error> {
    let matches = Vec::<Match>::deserialize(deserializer)?;
    if matches.len() > MATCHES_MAX || !matches.iter().all(is_mark) {
        return Err(serde::de::Error::custom(format!(
            "a split has at most {MATCHES_MAX} matches, each with a name in lower case and at most {MARK_MAX} bytes of \
             name and value"
        )));
    }
    Ok(matches)
}

fn is_mark(of: &Match) -> bool {
    let (Match::Header { name, value } | Match::Cookie { name, value }) = of;
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let is_header = matches!(of, Match::Header { .. });
    let is_name = name
        .bytes()
        .all(|b| legal(b) || (!is_header && b.is_ascii_uppercase()));
    let visible = |b: u8| b.is_ascii_graphic() || b == b' ';
    !name.is_empty()
        && is_name
        && value.bytes().all(visible)
        && name.len().max(value.len()) <= MARK_MAX
}

fn check<E: serde::de::Error>(path: Option<&str>) -> Result<(), E> {
    match path {
        Some(path) if !is_probe_path(path) => Err(E::custom(format!(
            "health can't be asked at {:?}: a path begins with \"/\", has at most 1024 bytes and no spaces",
            path.chars().take(64).collect::<String>()
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use domain::id::{DeploymentId, ServiceId};
    use serde_json::json;

    use crate::item::{ChallengeItem, HostnameItem, RulesItem, RunMode, ServiceItem};

    #[test]
    fn a_challenge_is_answered_with_base64url_only() {
        let read = |token: &str, answer: &str| {
            let item = json!({ "hostname": "a.test", "token": token, "key_authorization": answer });
            serde_json::from_value::<ChallengeItem>(item)
        };
        assert!(read("a-Z_9", "a-Z_9.dGh1bWI").is_ok());
        for (token, answer) in [
            ("", "a.b"),
            ("../x", "a.b"),
            (&*"x".repeat(257), "a.b"),
            ("a", "a"),
            ("a", "a.b.c"),
            ("a", "a.<script>"),
            ("a", "."),
        ] {
            assert!(read(token, answer).is_err(), "{token:?} {answer:?}");
        }
    }

    #[test]
    fn health_is_asked_at_paths_only() {
        let service = |path: &str| {
            json!({
                "service_id": ServiceId::new(), "deployment_id": DeploymentId::new(),
                "endpoints": [], "health_path": path,
            })
        };
        let runs = |path: &str| {
            let probe = json!({ "path": path });
            ["startup", "readiness", "liveness"]
                .map(|kind| json!({ "mode": "service", kind: probe }))
        };
        for (path, is_good) in [
            ("/health", true),
            ("health", false),
            ("/\r\nHost: x", false),
        ] {
            let read = serde_json::from_value::<ServiceItem>(service(path));
            assert_eq!(read.is_ok(), is_good, "{path:?}: {read:?}");
            for mode in runs(path) {
                let read = serde_json::from_value::<RunMode>(mode);
                assert_eq!(read.is_ok(), is_good, "{path:?}: {read:?}");
            }
        }
    }

    #[test]
    fn only_what_edges_can_go_by_is_read() {
        let service = |extra: serde_json::Value| {
            let mut item = json!({
                "service_id": ServiceId::new(), "deployment_id": DeploymentId::new(), "endpoints": [],
            });
            item.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            serde_json::from_value::<ServiceItem>(item)
        };
        let split = |weight: u8| json!({ "deployment_id": DeploymentId::new(), "endpoints": [], "weight": weight });
        let matched = |by: serde_json::Value| {
            let mut split = split(5);
            split["matches"] = json!([by]);
            json!({ "splits": [split] })
        };
        for (extra, is_good) in [
            (json!({}), true),
            (json!({ "policy": { "breaker": { "failures": 5 } } }), true),
            (json!({ "policy": { "breaker": { "failures": 0 } } }), false),
            (
                json!({ "policy": { "limits": { "connections": 0 } } }),
                false,
            ),
            (json!({ "policy": { "unknown": 1 } }), true),
            (json!({ "splits": [split(60), split(40)] }), true),
            (json!({ "splits": [split(60), split(41)] }), false),
            (
                json!({ "splits": (0..9).map(|_| split(1)).collect::<Vec<_>>() }),
                false,
            ),
            (
                matched(json!({ "by": "header", "name": "x-canary", "value": "1" })),
                true,
            ),
            (
                matched(json!({ "by": "header", "name": "X-Canary", "value": "1" })),
                false,
            ),
            (
                matched(json!({ "by": "cookie", "name": "Canary", "value": "1" })),
                true,
            ),
            (
                matched(json!({ "by": "cookie", "name": "a b", "value": "1" })),
                false,
            ),
            (
                matched(json!({ "by": "cookie", "name": "a", "value": "\n" })),
                false,
            ),
        ] {
            let read = service(extra.clone());
            assert_eq!(read.is_ok(), is_good, "{extra}: {read:?}");
        }
    }

    #[test]
    fn a_hostname_is_routed_by_paths_and_by_what_can_be() {
        let hostname = |extra: serde_json::Value| {
            let mut item = json!({
                "hostname": "a.test", "service_id": ServiceId::new(), "regions": [], "https_redirect": true,
                "timeouts": {},
            });
            item.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            serde_json::from_value::<HostnameItem>(item)
        };
        assert_eq!(hostname(json!({})).unwrap().id(), "hostname/a.test");
        let below = hostname(json!({ "path": "/api/v2" })).unwrap();
        assert_eq!(below.id(), "hostname/a.test/api/v2");
        for bad in [
            json!({ "path": "api" }),
            json!({ "path": "/" }),
            json!({ "path": "/a/" }),
            json!({ "path": "/a/../b" }),
            json!({ "policy": { "retries": { "attempts": 1000 } } }),
            json!({ "policy": { "hsts": "0s" } }),
            json!({ "policy": { "sticky": "mud" } }),
        ] {
            assert!(hostname(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_are_those_that_can_be_saved() {
        let service_id = ServiceId::new();
        let item = |rules| json!({ "service_id": service_id, "rules": rules });
        let rule =
            |status: u16| json!({ "if": "true", "then": { "action": "block", "status": status } });
        for (rules, is_good) in [
            (json!([rule(403)]), true),
            (json!([rule(200)]), false),
            (json!(vec![rule(403); 65]), false),
            (
                json!([{ "if": "true", "then": { "action": "of the future" } }]),
                false,
            ),
            (
                json!([{ "if": "true", "unless": "x", "then": { "action": "allow" } }]),
                false,
            ),
        ] {
            let read = serde_json::from_value::<RulesItem>(item(rules));
            assert_eq!(read.is_ok(), is_good, "{read:?}");
        }
    }
}
