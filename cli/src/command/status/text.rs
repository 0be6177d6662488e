//! How a service's status is shown to people.

use ::api::{
    deployment::{Deployment, DeploymentState},
    instance::Instance,
    service::{RegionStatus, Service},
};
use chrono::{DateTime, Utc};
use domain::instance::{Desired, State};

use super::Status;
use crate::output::{Cell, Output, Table, Tone, age, since};

/// One line per service.
pub fn overview(services: &[Service]) -> Table {
    Table::of(
        &["SERVICE", "STATE", "READY", "ADDRESS", "ID"],
        services,
        |service| {
            [
                service.name.as_str().into(),
                health(service),
                counts(service).into(),
                address(service).into(),
                Cell::dim(service.id.to_string()),
            ]
        },
    )
}

/// Everything about one service.
pub fn detail(output: Output, status: &Status, now: DateTime<Utc>) -> String {
    let service = &status.service;
    let mut parts = vec![head(status, now)];
    if !service.regions.is_empty() {
        parts.push(output.render(regions(service, now)));
    }
    if !service.blocked.is_empty() {
        let lines = service
            .blocked
            .iter()
            .map(|(region, why)| format!("{region} waits: {why}"));
        parts.push(lines.collect::<Vec<_>>().join("\n"));
    }
    let present: Vec<&Instance> = status.instances.iter().filter(is_present).collect();
    if !present.is_empty() {
        parts.push(output.render(instances(&present, now)));
    }
    parts.join("\n\n")
}

/// What is seen of a service in each region, and how old that is.
pub fn regions(service: &Service, now: DateTime<Utc>) -> Table {
    let rows: Vec<_> = service.regions.iter().collect();
    Table::of(
        &["REGION", "READY", "RUNNING", "WANTED", "SEEN"],
        &rows,
        |(name, region)| {
            [
                name.as_str().into(),
                Cell::new(region.ready.to_string(), tone(region)),
                region.running.to_string().into(),
                region.desired.to_string().into(),
                region
                    .reported_at
                    .map_or_else(|| "never".to_owned(), |at| since(at, now))
                    .into(),
            ]
        },
    )
}

fn head(status: &Status, now: DateTime<Utc>) -> String {
    let service = &status.service;
    let mut lines = vec![format!("{}  {}", service.name, summary(status))];
    lines.extend(
        service
            .hostnames
            .iter()
            .map(|name| format!("  https://{name}")),
    );
    if let Some(deployment) = &status.deployment {
        lines.push(last(deployment, now));
        lines.extend(
            deployment
                .error
                .iter()
                .map(|error| format!("  {}", error.message)),
        );
    }
    lines.join("\n")
}

fn summary(status: &Status) -> &'static str {
    let service = &status.service;
    let newest = status.deployment.as_ref().map(|newest| newest.state);
    let drains = newest == Some(DeploymentState::Draining);
    let changes = newest.is_some_and(|state| !state.is_final() && !drains);
    match (service.active, service.current_deployment_id.is_some()) {
        _ if changes => "is being deployed",
        (true, true) if drains => "is deployed; its old instances end",
        (true, true) => "is deployed",
        (false, true) => "is down",
        _ if status.deployment.is_some() => "was never live",
        _ => "was never deployed",
    }
}

fn last(deployment: &Deployment, now: DateTime<Utc>) -> String {
    let commit = deployment.commit.as_ref().map_or(String::new(), |commit| {
        format!(" · {} {}", short(&commit.sha), commit.title)
    });
    format!(
        "  deployment {} {} for {}{commit} · {}",
        deployment.number,
        deployment.state.as_str(),
        age(deployment.state_since, now),
        failed_requests(deployment),
    )
}

/// Those that ended as they should are history.
fn is_present(instance: &&Instance) -> bool {
    instance.state != State::Stopped || instance.desired == Desired::Run
}

fn instances(all: &[&Instance], now: DateTime<Utc>) -> Table {
    Table::of(
        &[
            "INSTANCE", "REGION", "STATE", "RESTARTS", "CPU", "MEMORY", "AGE", "SEEN", "PROBLEM",
        ],
        all,
        |instance| {
            [
                Cell::dim(short_id(&instance.id.to_string())),
                instance.region.as_str().into(),
                state(instance),
                instance.restarts.to_string().into(),
                format!("{:.2}", instance.cpu.cores()).into(),
                mebibytes(instance.memory.0).into(),
                age(instance.created_at, now).into(),
                instance
                    .reported_at
                    .map_or_else(|| "never".to_owned(), |at| since(at, now))
                    .into(),
                instance
                    .problem
                    .as_ref()
                    .map_or_else(String::new, |problem| problem.message.clone())
                    .into(),
            ]
        },
    )
}

fn state(instance: &Instance) -> Cell {
    if instance.unreachable {
        return Cell::new("unreachable", Tone::Bad);
    }
    match (instance.desired, instance.state, instance.ready) {
        (_, State::Running, true) => Cell::new("ready", Tone::Good),
        (Desired::Run, State::Running, false) => Cell::new("not ready", Tone::Bad),
        (_, State::Stopped, _) => Cell::new("stopped", Tone::Dim),
        (_, state, _) => Cell::new(word(state), Tone::Busy),
    }
}

const fn word(state: State) -> &'static str {
    match state {
        State::Assigned => "assigned",
        State::Pulling => "pulling",
        State::Starting => "starting",
        State::Running => "running",
        State::Draining => "draining",
        State::Stopped => "stopped",
    }
}

/// What a change cost, in requests.
pub fn failed_requests(deployment: &Deployment) -> String {
    match (deployment.failed_requests, deployment.requests) {
        (0, 0) => "no requests came during the change".to_owned(),
        (failed, all) => format!("{failed} of {all} requests failed during the change"),
    }
}

fn health(service: &Service) -> Cell {
    if service.target_deployment_id.is_some() {
        return Cell::new("deploying", Tone::Busy);
    }
    match (service.active, service.current_deployment_id) {
        (true, Some(_)) if service.regions.values().all(is_well) => Cell::new("live", Tone::Good),
        (true, Some(_)) => Cell::new("degraded", Tone::Bad),
        (false, Some(_)) => Cell::new("down", Tone::Dim),
        _ => Cell::new("not deployed", Tone::Dim),
    }
}

fn counts(service: &Service) -> String {
    let regions: Vec<String> = service
        .regions
        .iter()
        .map(|(name, region)| format!("{name} {}/{}", region.ready, region.desired))
        .collect();
    regions.join(", ")
}

fn address(service: &Service) -> String {
    service
        .hostnames
        .first()
        .map_or_else(String::new, |hostname| format!("https://{hostname}"))
}

fn is_well(region: &RegionStatus) -> bool {
    region.ready >= region.desired
}

fn tone(region: &RegionStatus) -> Tone {
    match (region.ready, is_well(region)) {
        (0, false) => Tone::Bad,
        (_, false) => Tone::Busy,
        _ => Tone::Good,
    }
}

/// How a deployment's state is coloured.
pub fn deployment_state(state: DeploymentState) -> Cell {
    let tone = match state {
        DeploymentState::Live => Tone::Good,
        DeploymentState::Failed => Tone::Bad,
        DeploymentState::Canceled | DeploymentState::Superseded => Tone::Dim,
        _ => Tone::Busy,
    };
    Cell::new(state.as_str(), tone)
}

/// Enough of a commit's id to tell it from others.
pub fn short(sha: &str) -> &str {
    sha.get(..8).unwrap_or(sha)
}

/// The random end of an id, enough to tell instances from each other.
pub fn short_id(id: &str) -> String {
    let tail = id.len().saturating_sub(8);
    id.get(tail..).unwrap_or(id).to_owned()
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn id(prefix: &str, number: u32) -> String {
        format!("{prefix}_{number:032x}")
    }

    fn instance(number: u32, region: &str, changes: &Value) -> Value {
        let mut instance = json!({
            "id": id("ins", number), "service_id": id("svc", 1), "release_id": id("rel", 1),
            "deployment_id": id("dep", 1), "region": region, "node_id": id("nod", 1),
            "desired": "run", "state": "running", "ready": true, "unreachable": false, "restarts": 0,
            "cpu": 0.05, "memory": "64Mi", "created_at": "2026-01-01T10:00:00Z",
            "reported_at": "2026-01-01T11:59:58Z",
        });
        for (key, value) in changes.as_object().unwrap() {
            instance[key] = value.clone();
        }
        instance
    }

    fn status() -> Status {
        let at = "2026-01-01T11:57:00Z";
        let service = json!({
            "id": id("svc", 1), "organization_id": id("org", 1), "project_id": id("prj", 1),
            "environment_id": id("env", 1), "name": "web", "spec": {}, "active": true, "version": 3,
            "current_deployment_id": id("dep", 1), "hostnames": ["web-shop.railhead.test", "www.example.com"],
            "regions": {
                "eu-west": { "desired": 2, "running": 2, "ready": 1, "reported_at": "2026-01-01T11:59:58Z" },
                "us-east": { "desired": 1, "running": 1, "ready": 1 },
            },
            "blocked": { "us-east": "no node in us-east with 2 GiB free" }, "created_at": at,
        });
        let deployment = json!({
            "id": id("dep", 1), "service_id": id("svc", 1), "number": 4, "source": { "from": "git" },
            "reason": "deploy", "state": "live", "state_since": at, "steps": [], "cancel_requested": false,
            "commit": { "sha": "518751e5dd02bc32934b09e705249f5fec9498aa", "title": "Say hello", "author": "Ada" },
            "requests": 20_000, "failed_requests": 0, "version": 9, "created_at": at,
        });
        let problem =
            json!({ "code": "readiness_probe_failed", "message": "GET /health answered 503" });
        let instances = json!([
            instance(0xa1, "eu-west", &json!({})),
            instance(
                0xa2,
                "eu-west",
                &json!({ "ready": false, "restarts": 2, "problem": problem })
            ),
            instance(0xa3, "us-east", &json!({ "unreachable": true })),
            instance(
                0xa4,
                "us-east",
                &json!({ "state": "stopped", "desired": "stop", "ready": false })
            ),
        ]);
        Status {
            service: serde_json::from_value(service).unwrap(),
            deployment: serde_json::from_value(deployment).unwrap(),
            instances: serde_json::from_value(instances).unwrap(),
        }
    }

    #[test]
    fn a_service_is_shown_as_it_is_seen() {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        insta::assert_snapshot!(detail(Output::plain(), &status(), now));
    }

    #[test]
    fn an_overview_tells_degraded_from_live() {
        let mut live = status().service;
        live.regions.clear();
        let services = [status().service, live];
        insta::assert_snapshot!(overview(&services).render(false, None));
    }
}
