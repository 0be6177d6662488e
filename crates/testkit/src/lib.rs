//! Test doubles and helpers, for tests only: real PostgreSQL databases, waiting for states, a proxy
//! that breaks connections, and nodes that speak the real protocol without containers or traffic.

pub mod chaos_proxy;
pub mod compare_and_set;
pub mod fake_agent;
pub mod fake_edge;
mod fake_node;
pub mod git;
pub mod git_server;
pub mod https;
pub mod hung_file;
pub mod metrics;
pub mod pki;
pub mod poison;
pub mod postgres;
pub mod publisher;
pub mod redis;
pub mod verdict;
pub mod wait;
