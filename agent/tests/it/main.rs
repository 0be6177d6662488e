//! The agent against real engines, on this machine. Each part needs root and skips without it.

mod build;
mod workloads;
