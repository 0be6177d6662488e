//! The vocabulary of Railhead: ids, names, quantities, service specifications and state machines.
//!
//! Pure by rule: no I/O, no clock, no async runtime (`cargo xtask tidy` checks it), so that the
//! control plane, nodes, CLI and the simulation share exactly the same meaning of each word.

pub mod deployment;
pub mod generation;
pub mod hostname;
pub mod id;
pub mod image;
pub mod instance;
pub mod name;
pub mod network;
#[cfg(feature = "openapi")]
mod openapi;
pub mod quantity;
pub mod reference;
pub mod ring;
pub mod spec;
