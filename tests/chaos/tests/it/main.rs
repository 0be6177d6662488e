//! Faults done to the platform that `./dev test` starts, one test after another (`.config/nextest.toml`).
//! A tenth of the counts unless `RAILHEAD_CHAOS` is `full`.

mod cut_off;
mod kills;
mod partitions;
mod paused;
mod ready;
mod slow;
mod support;
