//! What runs here, from the engine and not from the plan.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddrV4},
};

use bollard::{
    Docker,
    models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, PortMap},
    query_parameters::ListContainersOptionsBuilder,
};
use chrono::{DateTime, Utc};
use domain::id::NodeId;
use futures::{StreamExt, TryStreamExt};

use super::{Error, failed, has_status, network, node_label};
use crate::runtime::{Container, Labels, Phase, PublishedPort};

const INSPECTIONS_AT_ONCE: usize = 8;

/// With the engine's own ids of them.
pub(super) async fn list(client: &Docker, node: NodeId) -> Result<Vec<(String, Container)>, Error> {
    let filters: HashMap<String, Vec<String>> =
        [("label".to_owned(), vec![node_label(node)])].into();
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    let summaries = client
        .list_containers(Some(options))
        .await
        .map_err(failed("list containers"))?;
    let found: Vec<Option<(String, Container)>> = futures::stream::iter(summaries)
        .map(|summary| inspect(client, summary.id.unwrap_or_default()))
        .buffered(INSPECTIONS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

async fn inspect(client: &Docker, id: String) -> Result<Option<(String, Container)>, Error> {
    match client.inspect_container(&id, None).await {
        Ok(answer) => Ok(container(answer).map(|container| (id, container))),
        Err(error) if has_status(&error, 404) => Ok(None),
        Err(error) => Err(failed("inspect a container")(error)),
    }
}

fn container(answer: ContainerInspectResponse) -> Option<Container> {
    let config = answer.config.unwrap_or_default();
    let labels = Labels::from_map(&config.labels.unwrap_or_default())?;
    if answer.name.as_deref() != Some(&format!("/{}", super::container_name(labels.instance))) {
        return None;
    }
    let bindings = answer.host_config.and_then(|host| host.port_bindings);
    let networks = answer
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default();
    let ip = networks
        .get(&network::name(labels.environment))
        .and_then(|endpoint| endpoint.ip_address.as_deref())
        .and_then(|text| text.parse::<IpAddr>().ok());
    let bindings = bindings.unwrap_or_default();
    let state = answer.state.unwrap_or_default();
    let published = published(&state, ip, &bindings);
    Some(Container {
        labels,
        phase: phase(state),
        image_digest: config
            .image
            .and_then(|image| image.split_once('@').map(|(_, digest)| digest.to_owned())),
        ip,
        host_port: bound(&bindings).map(|(_, host)| host.port()),
        published,
    })
}

/// A container that does not run holds no address.
fn published(
    state: &ContainerState,
    ip: Option<IpAddr>,
    bindings: &PortMap,
) -> Option<PublishedPort> {
    let pid = state.pid.and_then(|pid| u32::try_from(pid).ok());
    let (port, host) = bound(bindings)?;
    match (state.running, ip) {
        (Some(true), Some(IpAddr::V4(ip))) => Some(PublishedPort {
            host,
            target: SocketAddrV4::new(ip, port),
            pid: pid.filter(|pid| *pid > 0)?,
        }),
        _ => None,
    }
}

fn phase(state: ContainerState) -> Phase {
    let since = time(state.started_at);
    match state.status {
        Some(ContainerStateStatusEnum::CREATED) => Phase::Created,
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => Phase::Ended {
            since,
            at: time(state.finished_at),
            exit_code: state.exit_code.unwrap_or(-1),
            out_of_memory: state.oom_killed.unwrap_or(false),
        },
        _ => Phase::Running { since },
    }
}

fn time(text: Option<String>) -> DateTime<Utc> {
    text.and_then(|text| text.parse().ok())
        .unwrap_or(DateTime::UNIX_EPOCH)
}

/// A port of the container and where it is published.
fn bound(bindings: &PortMap) -> Option<(u16, SocketAddrV4)> {
    bindings.iter().find_map(|(key, bindings)| {
        let port = key.strip_suffix("/tcp")?.parse().ok()?;
        let binding = bindings.as_ref()?.first()?;
        let address = binding.host_ip.as_deref()?.parse().ok()?;
        let host_port = binding.host_port.as_deref()?.parse().ok()?;
        Some((port, SocketAddrV4::new(address, host_port)))
    })
}
