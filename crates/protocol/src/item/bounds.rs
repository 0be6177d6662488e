//! What an item can't say, however well it is signed: it is refused, and the last good one with its id stands.

use domain::spec::{EdgeRule, Probe, check_rules, is_probe_path};
use serde::Deserialize as _;

use super::Endpoint;

/// Ten times what a service may have in a region (`domain::spec::REPLICAS_MAX`): more is a mistake, and
/// each costs an edge memory, a question to its agent and probes.
pub const ENDPOINTS_MAX: usize = 1_000;

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

    use crate::item::{RulesItem, RunMode, ServiceItem};

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
