//! Deterministic simulation. Production code decides (scheduler, deployment machine, reconcilers'
//! `decide`, feed writer and reader, ledger and brake, agent's roster, edge's table); clock, network,
//! machines and tables are simulated, and one seed is one whole history.

mod builder;
mod certificates;
pub mod chaos;
mod client;
pub mod clock;
pub mod control;
mod convergence;
mod edge;
mod edges;
pub mod fault;
mod feeds;
mod follow;
mod following;
pub mod invariant;
pub mod network;
mod node;
mod nodes;
pub mod outage;
mod queue;
pub mod random;
pub mod rendering;
mod reports;
pub mod run;
mod setup;
pub mod table;
mod tenant;
pub mod trace;
mod unknown;
pub mod world;

pub use fault::Fault;
pub use invariant::{Invariant, Violation};
pub use run::{Outcome, Scenario, run};
