//! Faults done to the platform that `./dev test` starts, one test after another (`.config/nextest.toml`).
//! A tenth of the counts unless `RAILHEAD_CHAOS` is `full`.

mod agents;
mod cut_off;
mod database;
mod engine_start;
mod engine_store;
mod faults;
mod kills;
mod machines;
mod points;
mod ready;
mod stale_edge;
mod support;
mod upgrade;
