//! What an item can't say, however well it is signed: it is refused, and the last good one with its id stands.

use domain::spec::{Probe, is_probe_path};
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

    use crate::item::{ChallengeItem, RunMode, ServiceItem};

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
}
