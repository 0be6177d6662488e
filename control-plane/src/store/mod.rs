//! All SQL of the control plane, one file per resource. [`tx`] holds the only ways to an executor.

pub mod audit_event;
mod error;
pub mod event;
mod pools;
pub mod tx;

pub use error::Error;
pub use pools::{MIGRATIONS, Pools, migrate};
