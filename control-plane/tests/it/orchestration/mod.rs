//! Deployments from rows to running nodes: real PostgreSQL, real replicas, real node links; agents
//! and edges without containers and traffic.

mod acme;
mod certificates;
mod clock;
mod deletion;
mod deploy;
mod draining;
mod expelled;
mod feeds;
mod fence;
mod history;
mod jobs;
mod join;
mod join_token;
mod origin;
mod overtaken;
mod placement;
pub mod platform;
mod poisoned;
mod restore;
mod rings;
mod route_refresh;
mod silent_database;
mod surplus;
mod timeline;
mod versions;
