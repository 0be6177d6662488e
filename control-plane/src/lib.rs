//! The control plane decides. It holds all intent in PostgreSQL and never talks to a node: nodes
//! dial out to it and follow a feed. N replicas run side by side over one database.
//!
//! Inside: `http → app → store`; `reconcile` and `jobs` use `app` and `store`. SQL only in `store`,
//! authorization only in `app`.

pub mod acme;
pub mod admin;
pub mod app;
pub mod audit;
pub mod ca;
pub mod config;
pub mod dns;
pub mod feed;
pub mod http;
pub mod identity;
pub mod jobs;
pub mod listen;
pub mod logs;
pub mod migrate;
pub mod node_http;
pub mod readiness;
pub mod reconcile;
pub mod registry;
pub mod secrets;
pub mod serve;
pub mod slots;
pub mod state;
pub mod store;
pub mod waker;
pub mod workflow;

pub use config::Config;
pub use state::State;
