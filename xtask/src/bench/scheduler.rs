//! What a large evaluation costs in the scheduler; no platform is needed for it.

use super::{Benchmark, Run, program};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "scheduler",
    method: "crates/scheduler/benches/plan.rs in the bench profile, one thread: the worst of 7 rounds each, and \
             how many of the two questions got more than one plan",
    run: Run::Alone(|_| program::bench("scheduler", "plan")),
};
