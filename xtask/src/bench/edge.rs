//! What a request costs in the edge before it goes anywhere; no platform is needed for it.

use super::{Benchmark, Run, program};

pub const BENCHMARK: Benchmark = Benchmark {
    name: "edge",
    method: "edge-proxy/benches/decide.rs in the bench profile, one thread: the best mean of 7 rounds of 20,000 \
             calls over 100,000 host names; compiling that table is one call a round",
    run: Run::Alone(|_| program::bench("edge-proxy", "decide")),
};
