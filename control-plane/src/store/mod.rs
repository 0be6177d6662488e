//! All SQL of the control plane, one file per resource. [`tx`] holds the only ways to an executor.

pub mod access;
pub mod acme_account;
pub mod api_token;
pub mod archive;
pub mod audit_event;
pub mod build;
pub mod certificate;
pub mod certificate_order;
mod connection;
pub mod deletion;
pub mod deletion_api;
pub mod deploy_key;
pub mod deployment;
pub mod deployment_api;
pub mod dns;
pub mod domain;
pub mod domain_certificate;
pub mod domain_check;
pub mod environment;
pub mod epoch;
mod error;
pub mod evaluation;
pub mod event;
pub mod feed;
pub mod fence;
pub mod idempotency;
pub mod instance;
pub mod instance_api;
pub mod job;
pub mod join_token;
pub mod lease;
pub mod liveness;
pub mod log_origin;
mod migrations;
pub mod node_api;
pub mod node_identity;
pub mod node_report;
pub mod organization;
pub mod orphan;
pub mod page;
pub mod placement;
pub mod platform_key;
pub mod platform_status;
mod pools;
pub mod project;
mod query;
pub mod region;
pub mod registry;
pub mod release;
pub mod release_api;
pub mod retention;
pub mod ring;
pub mod rollout;
pub mod route;
pub mod route_refresh;
mod row;
pub mod secret;
pub mod server;
pub mod service;
pub mod session;
pub mod tx;
pub mod user;
pub mod variable;
pub mod wake;
pub mod workflow;

pub use connection::Connection;
pub use error::Error;
pub use migrations::{MIGRATIONS, migrate};
pub use pools::Pools;
pub(crate) use pools::pool;

/// The role in a stored text.
fn role(text: Option<String>) -> Result<Option<api::role::Role>, Error> {
    text.map(|text| text.parse().map_err(|e| Error::corrupt("role", e)))
        .transpose()
}

/// The node role in a stored text.
fn node_role(text: &str) -> Result<api::node::NodeRole, Error> {
    match text {
        "agent" => Ok(api::node::NodeRole::Agent),
        "edge" => Ok(api::node::NodeRole::Edge),
        other => Err(Error::corrupt("node role", other)),
    }
}
