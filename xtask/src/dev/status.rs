//! `./dev status`: what runs and where, for people and (`--json`) for scripts.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::{
    example,
    plan::Plan,
    state::{Phase, State},
};
use crate::output::say;

/// What scripts drive the platform by.
#[derive(Debug, Serialize)]
struct Status {
    running: bool,
    slot: u8,
    processes: Vec<ProcessStatus>,
    api: String,
    node_api: String,
    registry: String,
    edges: BTreeMap<&'static str, String>,
    regions: BTreeMap<&'static str, RegionStatus>,
    /// By the name of its process, where each control plane's metrics are.
    control_planes: BTreeMap<String, String>,
    router_netns: String,
    ca_file: String,
    admin_token_file: String,
    example_host: Option<String>,
    example_repository: String,
}

#[derive(Debug, Serialize)]
struct ProcessStatus {
    name: String,
    pid: Option<i32>,
    state: Phase,
    restarts: u32,
    log: String,
}

/// What a region is made of.
#[derive(Debug, Serialize)]
struct RegionStatus {
    address: String,
    netns: String,
    build_netns: String,
    containers: String,
    docker_socket: String,
    build_socket: String,
}

/// Prints it.
pub fn run(plan: &Plan, json: bool) -> Result<()> {
    let state = State::read(plan)?;
    let status = status(plan, &state);
    if json {
        say!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(());
    }
    if !status.running {
        say!("The platform is not running; start it with ./dev up.");
        return Ok(());
    }
    say!(
        "{:<24} {:<10} {:>8} {:>9}",
        "PROCESS",
        "STATE",
        "PID",
        "RESTARTS"
    );
    for process in &status.processes {
        let state = serde_json::to_value(process.state)?;
        let pid = process
            .pid
            .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        say!(
            "{:<24} {:<10} {pid:>8} {:>9}",
            process.name,
            state.as_str().unwrap_or_default(),
            process.restarts
        );
    }
    say!("\nAPI  {}", status.api);
    for (region, address) in &status.edges {
        say!("edge {region}  https://{address}");
    }
    Ok(())
}

fn status(plan: &Plan, state: &State) -> Status {
    let text = |path: std::path::PathBuf| path.display().to_string();
    Status {
        running: state.live_supervisor().is_some(),
        slot: plan.slot.number(),
        processes: state
            .processes
            .iter()
            .map(|process| process_status(plan, process))
            .collect(),
        api: plan.api_url(),
        node_api: plan.node_url(),
        registry: plan.registry(),
        edges: plan
            .regions()
            .map(|region| (region.name, format!("{}:443", region.address())))
            .into(),
        regions: plan
            .regions()
            .map(|region| (region.name, region_status(&region)))
            .into(),
        control_planes: plan
            .replicas()
            .map(|replica| (replica.name(), replica.metrics_url()))
            .collect(),
        router_netns: plan.router_netns(),
        ca_file: text(plan.ca_file()),
        admin_token_file: text(plan.admin_token_file()),
        // Absent while the API is down or nothing is deployed: the rest is still worth showing.
        example_host: example::remembered_host(plan),
        example_repository: example::repository_url(plan),
    }
}

fn process_status(plan: &Plan, process: &super::state::Observed) -> ProcessStatus {
    ProcessStatus {
        name: process.name.clone(),
        pid: process.identity.map(|identity| identity.pid),
        state: process.state,
        restarts: process.restarts,
        log: plan.log(&process.name).display().to_string(),
    }
}

fn region_status(region: &super::plan::Region) -> RegionStatus {
    RegionStatus {
        address: region.address().to_string(),
        netns: region.netns(),
        build_netns: region.build_netns(),
        containers: region.pool(),
        docker_socket: super::engine::socket(region, "engine")
            .display()
            .to_string(),
        build_socket: super::engine::socket(region, "build-engine")
            .display()
            .to_string(),
    }
}
