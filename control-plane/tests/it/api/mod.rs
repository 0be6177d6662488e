//! The public API: real HTTPS on loopback, a real PostgreSQL, two tenants who wish each other no good.

mod abuse;
mod audit;
mod bodies;
mod catalogue;
mod certificates;
mod coverage;
mod document;
mod domains;
mod edge_rules;
mod events;
mod idempotency;
mod input;
mod limits;
mod nodes;
mod objects;
mod operations;
mod platform_status;
mod proxied;
mod replicas;
mod sessions;
mod shared_limits;
mod telemetry;
mod updates;
mod variables;
mod world;
