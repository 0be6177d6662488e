//! The control plane against a real PostgreSQL: one binary for all integration tests.

mod logs;
mod orchestration;
mod registry;
