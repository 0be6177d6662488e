//! The agent's own API over mTLS, and the agent against real engines on this machine; what has to do
//! with engines needs root and skips without it.

mod agent_api;
mod build;
mod programs;
mod workloads;
