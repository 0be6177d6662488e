//! The zone of the platform's own names, at providers that others have written: Knot DNS for RFC 2136, and moto in
//! place of Route 53.

mod moto;
mod reconciler;
mod rfc2136;
mod route53;

use control_plane::{
    config,
    dns::{Zone, goal::Edge, owner::Owner, plan::Change},
};
use uuid::Uuid;

/// As in the control plane's configuration file.
fn provider(text: &str) -> config::dns::Provider {
    #[derive(serde::Deserialize)]
    struct File {
        dns: config::Dns,
    }
    let file: File = toml::from_str(text).unwrap();
    file.dns.provider.unwrap()
}

fn owner() -> Owner {
    Owner::new(Uuid::from_u128(7))
}

async fn zone(text: &str, domain: &str) -> Zone {
    Zone::connect(&provider(text), domain, owner())
        .await
        .unwrap()
}

fn edge(region: &str, address: &str, is_live: bool) -> Edge {
    Edge {
        region: region.parse().unwrap(),
        address: address.parse().unwrap(),
        is_live,
    }
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}
