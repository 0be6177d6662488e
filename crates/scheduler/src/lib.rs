//! Placement as a pure function: a snapshot and an evaluation in, a plan out. The same input gives
//! the same plan, no instance moves without a named cause, and no node is filled beyond its capacity.

mod brake;
mod explain;
mod model;
mod place;
mod plan;

pub use brake::Sight;
pub use model::{
    Amount, Evaluation, Exhausted, Goal, Instance, Liveness, Node, Phase, Placement, Plan,
    Snapshot, Stop, StopCause,
};
pub use place::Score;
pub use plan::{plan, stays};
