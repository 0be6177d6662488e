//! The control plane against a real PostgreSQL: one binary for all integration tests.

mod api;
mod compare_and_set;
mod dns;
mod logs;
mod migrations;
mod name_server;
mod node_access;
mod orchestration;
mod readiness;
mod registry;
