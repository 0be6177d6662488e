//! The control plane against a real PostgreSQL: one binary for all integration tests.

mod api;
mod compare_and_set;
mod logs;
mod migrations;
mod node_access;
mod orchestration;
mod readiness;
mod registry;
