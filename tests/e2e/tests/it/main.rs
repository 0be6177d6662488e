//! Whole-system tests against the platform that `./dev test` starts. One after another: they kill
//! what they share (`.config/nextest.toml`).

mod availability;
mod change;
mod confinement;
mod deletion;
mod deploy;
mod domains;
mod evidence;
mod injected;
mod lifecycle;
mod node_join;
mod refusals;
mod replicas;
mod sources;
mod support;
