//! Deployments from rows to running nodes: real PostgreSQL, real replicas, real node links; agents
//! and edges without containers and traffic.

mod deploy;
mod expelled;
mod feeds;
mod jobs;
mod join;
mod placement;
pub mod platform;
