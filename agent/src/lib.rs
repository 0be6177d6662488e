//! The agent: makes a node match its feed.
//!
//! It works from its disk with the control plane gone, adopts what already runs, and never ends a
//! container because contact was lost (docs/ARCHITECTURE.md, invariants 7 and 8).

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod build;
pub mod config;
pub mod control_plane;
pub mod desired;
pub mod disk;
pub mod engine_store;
pub mod engine_tasks;
pub mod garbage;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod network;
pub mod ports;
pub mod reconcile;
pub mod report;
pub mod restart;
pub mod run;
pub mod runtime;
pub mod secrets;
pub mod serve;
pub mod usage;
