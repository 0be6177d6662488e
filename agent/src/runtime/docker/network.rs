//! One bridge network per environment. The bridge has a name of its own, so that the firewall can
//! speak of all of them (`rh-+`), and IPv4 only.

use std::collections::HashMap;

use bollard::{Docker, models::NetworkCreateRequest, query_parameters::ListNetworksOptionsBuilder};
use domain::id::{EnvironmentId, NodeId};

use super::{Error, accept, failed, has_status, node_label};
use crate::network::bridge_name;

const ENVIRONMENT: &str = "railhead.environment";

/// The network's name is that of its bridge.
pub(super) fn name(environment: EnvironmentId) -> String {
    bridge_name(environment)
}

pub(super) async fn ensure(
    client: &Docker,
    node: NodeId,
    environment: EnvironmentId,
) -> Result<(), Error> {
    match client.inspect_network(&name(environment), None).await {
        Ok(_) => return Ok(()),
        Err(error) if has_status(&error, 404) => {}
        Err(error) => return Err(failed("inspect a network")(error)),
    }
    let answer = client.create_network(request(node, environment)).await;
    accept(answer.map(|_| ()), &[409]).map_err(failed("create the environment's network"))
}

fn request(node: NodeId, environment: EnvironmentId) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: name(environment),
        driver: Some("bridge".to_owned()),
        enable_ipv6: Some(false),
        options: Some(
            [(
                "com.docker.network.bridge.name".to_owned(),
                bridge_name(environment),
            )]
            .into(),
        ),
        labels: Some(
            [
                ("railhead.node".to_owned(), node.to_string()),
                (ENVIRONMENT.to_owned(), environment.to_string()),
            ]
            .into(),
        ),
        ..NetworkCreateRequest::default()
    }
}

pub(super) async fn list(client: &Docker, node: NodeId) -> Result<Vec<EnvironmentId>, Error> {
    let filters: HashMap<String, Vec<String>> =
        [("label".to_owned(), vec![node_label(node)])].into();
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let networks = client
        .list_networks(Some(options))
        .await
        .map_err(failed("list networks"))?;
    Ok(networks
        .into_iter()
        .filter_map(|network| network.labels?.get(ENVIRONMENT)?.parse().ok())
        .collect())
}

pub(super) async fn remove(client: &Docker, environment: EnvironmentId) -> Result<(), Error> {
    let answer = client.remove_network(&name(environment)).await;
    accept(answer, &[404]).map_err(failed("remove the environment's network"))
}
