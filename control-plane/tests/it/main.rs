//! The control plane against a real PostgreSQL: one binary for all integration tests.

mod api;
mod logs;
mod node_access;
mod orchestration;
mod registry;
