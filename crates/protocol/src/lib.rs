//! What nodes and the control plane say to each other (docs/PROTOCOL.md): feeds of desired state,
//! reports of observed state, joining, and what an edge asks an agent. Types and pure logic only;
//! the sockets are in `link` and in the control plane.
//!
//! A version of these shapes is a promise: the samples in `fixtures/` are frozen, and a newer
//! reader must read older samples.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod agent_api;
pub mod feed;
pub mod item;
pub mod join;
pub mod join_token;
pub mod log;
pub mod report;

/// The version that this build speaks.
pub const PROTOCOL: u32 = 1;

/// The oldest version that a control plane of this build serves: the one before its own, once that exists.
pub const OLDEST: u32 = if PROTOCOL > 1 { PROTOCOL - 1 } else { 1 };

/// Header of an answer that lets nodes in one after the other: so many milliseconds until this one's turn.
pub const RETRY_AFTER_MS_HEADER: &str = "railhead-retry-after-ms";

/// Header with the version a node speaks.
pub const PROTOCOL_HEADER: &str = "railhead-protocol";
