//! Records and deployments for the tests of what counts and judges them.

use std::time::Duration;

use api::deployment::Deployment;
use chrono::{DateTime, Utc};

use super::{Kind, Outcome, Record};

/// So long after the beginning.
fn at(seconds: f64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_800_000_000_000_000 + (seconds * 1e6) as i64).unwrap()
}

/// One that was answered as it should be.
pub fn request(begun: f64) -> Record {
    Record {
        kind: Kind::Get1,
        edge: ([127, 0, 0, 1], 443).into(),
        begun: at(begun),
        took: Duration::from_millis(10),
        outcome: Outcome::Ok,
    }
}

/// The second one of its service, which went through these states.
pub fn deployment(steps: &[(&str, f64)]) -> Deployment {
    let steps: Vec<_> = steps
        .iter()
        .map(|(state, seconds)| serde_json::json!({ "state": state, "at": at(*seconds) }))
        .collect();
    serde_json::from_value(serde_json::json!({
        "id": format!("dep_{}", "0".repeat(32)), "service_id": format!("svc_{}", "0".repeat(32)),
        "number": 2, "source": { "from": "current" }, "reason": "redeploy", "state": "live",
        "state_since": at(9.0), "steps": steps, "cancel_requested": false, "requests": 4,
        "failed_requests": 0, "version": 1, "created_at": at(0.0),
    }))
    .unwrap()
}
