//! The public API: real HTTPS on loopback, a real PostgreSQL, two tenants who wish each other no good.

mod audit;
mod catalogue;
mod coverage;
mod document;
mod events;
mod idempotency;
mod input;
mod limits;
mod objects;
mod operations;
mod replicas;
mod sessions;
mod updates;
mod variables;
mod world;
