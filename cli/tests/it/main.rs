//! The real binary against a small API in the test: only what proves the command line's own
//! behaviour (exit codes, streams, questions, retries, archives, trust).

mod deploy;
mod domain;
mod edge;
mod errors;
mod follow;
mod login;
mod operate;
mod output;
mod support;
mod tenant;
mod up;
