//! Faults done to a running platform, a history of what was asked of it meanwhile, and a judge that says
//! whether what is left afterwards is what was promised. The tests are in `tests/`.

pub mod engine;
pub mod history;
pub mod judge;
pub mod kill;
pub mod migration;
pub mod observe;
pub mod point;
pub mod postgres;
pub mod release_command;
pub mod report;
pub mod runs;
pub mod silence;
pub mod work;
pub mod world;

pub use e2e::scale;
