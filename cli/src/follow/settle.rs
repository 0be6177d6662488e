//! Waiting until what is seen of a service is what was asked for: after `scale` and `down`.

use std::time::Duration;

use api::{client::Client, service::Service};

use crate::{
    context::Context,
    error::{Error, Result},
    output::Moving,
};

const POLL: Duration = Duration::from_millis(500);
/// As long as a deployment may take by default.
const DEADLINE: Duration = Duration::from_secs(300);

/// Waits until every region runs as many ready instances as it shall.
pub async fn settle(context: &Context, client: &Client, service: Service) -> Result<Service> {
    let line = Moving::spinner(context.output.moves);
    let path = format!("/v1/services/{}", service.id);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut service = service;
    while !is_settled(&service) {
        if let Some((region, reason)) = service.blocked.iter().next() {
            return Err(Error::Failed {
                message: format!("{region}: {reason}"),
                code: Some("no_capacity".to_owned()),
                advice:
                    "it is placed as soon as there is room; railhead node list shows what there is"
                        .to_owned(),
            });
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Error::Failed {
                message: format!(
                    "{} has not settled within 5 min: {}",
                    service.name,
                    summary(&service)
                ),
                code: None,
                advice: "railhead status, railhead logs".to_owned(),
            });
        }
        line.say(summary(&service));
        tokio::time::sleep(POLL).await;
        service = client.get(&path).await?;
    }
    Ok(service)
}

/// Observed: as many as shall be there are there, and no others.
fn is_settled(service: &Service) -> bool {
    service
        .regions
        .values()
        .all(|region| region.ready == region.desired && region.running == region.desired)
        && asked_for(service)
}

/// The plan has caught up with the intent.
fn asked_for(service: &Service) -> bool {
    if !service.active {
        return service.regions.values().all(|region| region.desired == 0);
    }
    service.spec.scale.regions.iter().all(|(name, replicas)| {
        let desired = service.regions.get(name).map_or(0, |region| region.desired);
        desired == *replicas
    })
}

fn summary(service: &Service) -> String {
    let regions: Vec<String> = service
        .regions
        .iter()
        .map(|(name, region)| format!("{name} {}/{} ready", region.ready, region.desired))
        .collect();
    regions.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(active: bool, wanted: u32, desired: u32, ready: u32, running: u32) -> Service {
        serde_json::from_value(json!({
            "id": format!("svc_{}", "0".repeat(32)),
            "organization_id": format!("org_{}", "0".repeat(32)),
            "project_id": format!("prj_{}", "0".repeat(32)),
            "environment_id": format!("env_{}", "0".repeat(32)),
            "name": "web", "active": active, "hostnames": [], "version": 1,
            "created_at": "2026-01-01T00:00:00Z",
            "spec": { "scale": { "regions": { "eu-west": wanted } } },
            "regions": { "eu-west": { "desired": desired, "running": running, "ready": ready } },
        }))
        .unwrap()
    }

    #[test]
    fn settled_means_seen_and_not_only_planned() {
        assert!(is_settled(&service(true, 2, 2, 2, 2)));
        assert!(!is_settled(&service(true, 2, 2, 1, 2)), "one is not ready");
        assert!(!is_settled(&service(true, 2, 1, 1, 1)), "the plan is old");
        assert!(
            !is_settled(&service(true, 1, 1, 1, 2)),
            "an old one still runs"
        );
        assert!(is_settled(&service(false, 2, 0, 0, 0)));
        assert!(
            !is_settled(&service(false, 2, 0, 0, 1)),
            "one still runs after down"
        );
    }
}
