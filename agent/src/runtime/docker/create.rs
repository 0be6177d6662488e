//! From a [`ContainerSpec`] to the engine's words: confinement, limits, the environment's network
//! and the published port. The engine restarts nothing by itself: the agent does, with its backoff.

use std::collections::HashMap;

use bollard::{
    Docker,
    models::{
        ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, NetworkingConfig,
        PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::CreateContainerOptionsBuilder,
};
use domain::{
    id::{InstanceId, NodeId},
    spec::Confinement,
};

use super::{Error, container_name, failed, has_status, network, reason};
use crate::runtime::{ContainerSpec, Publish};

const NANOS_PER_MILLICPU: i64 = 1_000_000;

/// What the engine says of a container in whose removal it was killed.
const HALF_REMOVED: &str = "marked for removal and cannot be started";

pub(super) async fn create(
    client: &Docker,
    node: NodeId,
    dns: &[String],
    spec: ContainerSpec,
) -> Result<(), Error> {
    let options = CreateContainerOptionsBuilder::new()
        .name(&container_name(spec.labels.instance))
        .build();
    client
        .create_container(Some(options), body(node, dns, spec))
        .await
        .map(|_| ())
        .map_err(failed("create the container"))
}

pub(super) async fn start(client: &Docker, instance: InstanceId) -> Result<(), Error> {
    let answer = client
        .start_container(&container_name(instance), None)
        .await;
    answer.map_err(|error| {
        let reason = reason(&error);
        match taken_port(&reason) {
            Some(port) => Error::PortTaken { port },
            None if reason.contains(HALF_REMOVED) => Error::HalfRemoved,
            None if has_status(&error, 400) || reason.contains("OCI runtime") => {
                Error::Start { reason }
            }
            None => failed("start the container")(error),
        }
    })
}

/// From "… listen tcp4 10.0.0.1:20000: bind: address already in use" or
/// "Bind for 10.0.0.1:20000 failed: port is already allocated".
fn taken_port(reason: &str) -> Option<u16> {
    let at = reason
        .find(": bind: address already in use")
        .or_else(|| reason.find(" failed: port is already allocated"))?;
    reason.get(..at)?.rsplit(':').next()?.parse().ok()
}

fn body(node: NodeId, dns: &[String], spec: ContainerSpec) -> ContainerCreateBody {
    let mut labels = spec.labels.to_map();
    labels.insert("railhead.node".to_owned(), node.to_string());
    labels.insert("railhead.item-digest".to_owned(), spec.item_digest.clone());
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: spec.command.clone(),
        env: Some(environment(&spec)),
        labels: Some(labels),
        stop_signal: Some(spec.stop_signal.as_str().to_owned()),
        exposed_ports: spec.publish.map(|publish| vec![port_key(publish)]),
        networking_config: Some(networking(&spec)),
        host_config: Some(HostConfig {
            dns: Some(dns.to_vec()),
            ..host_config(&spec)
        }),
        ..ContainerCreateBody::default()
    }
}

fn environment(spec: &ContainerSpec) -> Vec<String> {
    spec.environment
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str()))
        .collect()
}

fn networking(spec: &ContainerSpec) -> NetworkingConfig {
    let endpoint = EndpointSettings {
        aliases: Some(vec![format!("{}.internal", spec.service_name)]),
        ..EndpointSettings::default()
    };
    NetworkingConfig {
        endpoints_config: Some([(network::name(spec.labels.environment), endpoint)].into()),
    }
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    let memory = i64::try_from(spec.resources.memory.0).unwrap_or(i64::MAX);
    HostConfig {
        network_mode: Some(network::name(spec.labels.environment)),
        port_bindings: spec.publish.map(port_bindings),
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(spec.resources.cpu.0) * NANOS_PER_MILLICPU),
        pids_limit: Some(i64::from(spec.resources.pids)),
        cap_drop: Some(dropped_capabilities(spec.confinement)),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        init: Some(true),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        log_config: Some(log_config()),
        ..HostConfig::default()
    }
}

fn dropped_capabilities(confinement: Confinement) -> Vec<String> {
    let dropped: &[&str] = match confinement {
        Confinement::Restricted => &["ALL"],
        Confinement::Baseline => &["NET_RAW", "MKNOD"],
    };
    dropped.iter().map(|name| (*name).to_owned()).collect()
}

/// A bounded file of the engine's own: it never waits for the agent, which copies from it.
fn log_config() -> HostConfigLogConfig {
    let config: HashMap<String, String> = [("max-size", "10m"), ("max-file", "3")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    HostConfigLogConfig {
        typ: Some("local".to_owned()),
        config: Some(config),
    }
}

fn port_key(publish: Publish) -> String {
    format!("{}/tcp", publish.port)
}

fn port_bindings(publish: Publish) -> PortMap {
    let binding = PortBinding {
        host_ip: Some(publish.host.ip().to_string()),
        host_port: Some(publish.host.port().to_string()),
    };
    [(port_key(publish), Some(vec![binding]))].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_s_words_for_a_taken_port() {
        for reason in [
            "driver failed programming external connectivity on endpoint rh-x (0ab): Error starting userland proxy: listen tcp4 10.0.0.1:20001: bind: address already in use",
            "driver failed programming external connectivity on endpoint rh-x (0ab): Bind for 10.0.0.1:20001 failed: port is already allocated",
        ] {
            assert_eq!(taken_port(reason), Some(20_001), "{reason}");
        }
        assert_eq!(taken_port("OCI runtime create failed: no such file"), None);
    }
}
