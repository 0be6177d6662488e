//! All SQL of the control plane, one file per resource. [`tx`] holds the only ways to an executor.

pub mod archive;
pub mod access;
pub mod api_token;
pub mod deploy_key;
pub mod deployment_api;
pub mod domain;
pub mod domain_check;
pub mod environment;
pub mod idempotency;
pub mod instance_api;
pub mod join_token;
pub mod node_api;
pub mod organization;
pub mod orphan;
pub mod page;
pub mod project;
pub mod region;
pub mod release_api;
pub mod service;
pub mod session;
pub mod user;
pub mod variable;
pub mod wake;
mod row;
pub mod audit_event;
mod error;
pub mod event;
pub mod feed;
pub mod job;
pub mod certificate;
pub mod deletion;
pub mod retention;
pub mod liveness;
pub mod instance;
pub mod release;
pub mod deployment;
pub mod registry;
pub mod route;
pub mod placement;
pub mod evaluation;
pub mod lease;
pub mod log_origin;
pub mod secret;
pub mod node_report;
pub mod node_identity;
pub mod epoch;
pub mod build;
pub mod platform_key;
mod pools;
pub mod tx;

pub use error::Error;
pub(crate) use pools::pool;
pub use pools::{MIGRATIONS, Pools, migrate};

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
