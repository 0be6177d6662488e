//! `agent.toml`, `edge.toml` and the engines' `daemon.json`, as an operator would write them.

use std::net::Ipv4Addr;

use domain::quantity::Bytes;
use serde_json::{Value, json};

use super::{
    build_network::{self, NAMESPACE},
    choices::{Build, Choices},
    host::Host,
    layout::Layout,
    options::Options,
    paths,
    platform::Platform,
};

/// Edge to agent, edge to edge, metrics: the ports of the guide.
const AGENT: u16 = 7444;
const FORWARD: u16 = 7443;
const AGENT_METRICS: u16 = 9101;
const EDGE_METRICS: u16 = 9102;
const HOST_PORTS: [u16; 2] = [20_000, 39_999];

const ENGINE_SOCKET: &str = "/run/railhead/engine.sock";
const BUILD_SOCKET: &str = "/run/railhead/build-engine.sock";
const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// `agent.toml`.
pub fn agent(host: &Host, platform: &Platform, choices: &Choices, options: &Options) -> String {
    let address = choices.address;
    let mut config = common("agent", platform, choices);
    config["address"] = json!(address);
    config["listen"] = json!(format!("{address}:{AGENT}"));
    config["listen_metrics"] = json!(format!("{}:{AGENT_METRICS}", choices.metrics));
    config["host_ports"] = json!(HOST_PORTS);
    config["capacity"] = json!({ "cpu": choices.cpu, "memory": choices.memory });
    config["docker"] = json!({ "socket": ENGINE_SOCKET });
    config["network"] = json!({ "denied": choices.denied, "dns": host.resolvers });
    if let Some(build) = &choices.build {
        config["build"] = agent_build(platform, build);
        if let Some(file) = &options.build_ca {
            config["build"]["extra_ca_file"] = json!(file);
        }
    }
    toml_of(&config)
}

fn agent_build(platform: &Platform, build: &Build) -> Value {
    json!({
        "socket": BUILD_SOCKET,
        "netns": format!("/run/netns/{NAMESPACE}"),
        "data_dir": format!("{}/sources", paths::STATE),
        "registry": platform.registry,
        // The engine needs room to work in beside what is kept.
        "disk_budget": Bytes::mebibytes((build.disk.0 >> 20) / 5 * 4),
    })
}

/// `edge.toml`.
pub fn edge(platform: &Platform, choices: &Choices) -> String {
    let address = choices.address;
    let mut config = common("edge", platform, choices);
    config["listen_http"] = json!(format!("{address}:80"));
    config["listen_https"] = json!(format!("{address}:443"));
    config["listen_forward"] = json!(format!("{address}:{FORWARD}"));
    config["listen_metrics"] = json!(format!("{}:{EDGE_METRICS}", choices.metrics));
    config["access_log"] = json!("/var/log/railhead/edge-access.log");
    config["drain"] = json!("30s");
    if !choices.trusted_proxies.is_empty() {
        config["trusted_proxies"] = json!(choices.trusted_proxies);
    }
    if let Some(file) = &choices.limit_redis_file {
        config["limit"] = json!({ "redis_file": file });
    }
    if !choices.geo_databases.is_empty() {
        config["geo"] = json!({ "databases": choices.geo_databases });
    }
    toml_of(&config)
}

fn common(role: &str, platform: &Platform, choices: &Choices) -> Value {
    json!({
        "control_plane": platform.control_plane,
        "name": choices.name,
        "state_dir": paths::state_dir(role),
        "join_token_file": paths::token_file(role),
    })
}

/// Of the engine that runs workloads.
pub fn engine(host: &Host, platform: &Platform, choices: &Choices) -> String {
    let layout = Layout::of(choices.network);
    let mut config = daemon("engine", "engine", platform, &host.resolvers);
    config["hosts"] = json!([format!("unix://{ENGINE_SOCKET}")]);
    config["bip"] = json!(layout.bridge);
    config["default-address-pools"] = json!([{ "base": layout.containers, "size": 26 }]);
    config["cgroup-parent"] = json!("railhead_workloads.slice");
    config["live-restore"] = json!(true);
    json_of(&config)
}

/// Of the engine that builds.
pub fn build_engine(host: &Host, platform: &Platform, choices: &Choices) -> String {
    let layout = Layout::of(choices.network);
    let mut config = daemon("build-engine", "build/docker", platform, &host.resolvers);
    config["hosts"] = json!([format!("unix://{BUILD_SOCKET}")]);
    config["bip"] = json!(layout.build_bridge);
    config["default-address-pools"] = json!([{ "base": layout.build_containers, "size": 26 }]);
    config["cgroup-parent"] = json!("railhead_build.slice");
    json_of(&config)
}

fn daemon(name: &str, data: &str, platform: &Platform, dns: &[Ipv4Addr]) -> Value {
    json!({
        "data-root": format!("{}/{data}", paths::STATE),
        "exec-root": format!("/run/railhead/{name}"),
        "pidfile": format!("/run/railhead/{name}.pid"),
        // Whoever may use the socket is root: no group of people.
        "group": "root",
        "containerd": CONTAINERD,
        "containerd-namespace": format!("railhead-{name}"),
        "containerd-plugins-namespace": format!("railhead-{name}-plugins"),
        "exec-opts": ["native.cgroupdriver=systemd"],
        "registry-mirrors": [format!("https://{}", platform.registry)],
        "dns": dns,
        "userland-proxy": false,
        "log-level": "warn",
    })
}

/// Limits of a slice, as a drop-in.
pub fn workload_limits(choices: &Choices) -> String {
    format!("[Slice]\nMemoryMax={}\n", choices.memory.0)
}

/// Limits of a slice, as a drop-in.
pub fn build_limits(build: &Build) -> String {
    format!(
        "[Slice]\nCPUQuota={}%\nMemoryMax={}\nMemorySwapMax=0\n",
        build.cpu.0 / 10,
        build.memory.0
    )
}

/// The files of the build network, by name.
pub fn build_network(
    host: &Host,
    platform: &Platform,
    choices: &Choices,
) -> [(&'static str, String); 5] {
    let layout = Layout::of(choices.network);
    let reach = build_network::Reach::of(host, platform);
    [
        ("host.ip", build_network::host_links(&layout)),
        ("inside.ip", build_network::inside_links(&layout)),
        ("inside.sysctl", build_network::SYSCTL.to_owned()),
        ("inside.rules", build_network::inside_rules(&reach)),
        ("host.rules", build_network::host_rules(&layout, &reach)),
    ]
}

fn toml_of(config: &Value) -> String {
    toml::to_string(config).unwrap_or_default()
}

fn json_of(config: &Value) -> String {
    format!("{config:#}\n")
}
