//! Carries the traffic: ends TLS, finds the service of a request, sends it to an instance
//! of this region or to another region's edge. Needs the control plane only to learn changes.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod access_log;
pub mod compress;
pub mod config;
mod cookie;
pub mod decide;
pub mod drain;
pub mod error_page;
pub mod feeds;
pub mod forward;
pub mod geo;
pub mod hand_over;
pub mod limit;
pub mod listen;
pub mod metrics;
pub mod observe;
pub mod proxy;
pub mod report;
pub mod route;
pub mod rule;
pub mod run;
pub mod state;
pub mod tls;
pub mod traffic;
pub mod upstream;
