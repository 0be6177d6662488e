//! Instances of this region: which may be used (confirmed by their agent, healthy, not ejected),
//! which one a request gets, and how it is connected.

pub mod budget;
mod circuit;
pub mod confirm;
pub mod connect;
pub mod counters;
pub mod discover;
pub mod endpoint;
pub mod health;
pub mod memory;
pub mod pass;
pub mod places;
pub mod pool;
mod probe;
pub mod timer;
mod turn;
mod verdict;
