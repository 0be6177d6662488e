//! A node's side of the protocol (docs/PROTOCOL.md): who it is, how it follows feeds, what it keeps on disk,
//! how it reports. A node that has joined once starts and goes on from its disk without the control
//! plane, for as long as it takes.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod backoff;
pub mod brake;
pub mod client;
pub mod disk;
pub mod exhaustion;
pub mod follow;
pub mod identity;
pub mod metrics;
mod node;
pub mod node_key;
pub mod report;
pub mod snapshot;
pub mod tls;
pub mod writing;

pub use node::{Config, Error, Link};
