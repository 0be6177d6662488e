//! Tracing, metrics, OTLP and build information, the same in every binary, so that whoever runs the
//! platform learns one set of logs, endpoints and signals.

mod build_info;
pub mod context;
mod logs;
pub mod metrics;
mod otlp;
mod shutdown;
pub mod supervisor;
pub mod watchdog;

pub use build_info::BuildInfo;
pub use logs::{Config, Error, Guard, init};
pub use shutdown::shutdown_signal;

/// Makes aws-lc-rs the process's crypto provider. The first line of every `main`, because Pingora
/// would install `ring` otherwise. Calling it again changes nothing.
pub fn init_crypto() {
    // Err only says that a provider is there already: the one of an earlier call.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
