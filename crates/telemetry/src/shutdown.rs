//! When a process is asked to end.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at SIGTERM (supervisor) or SIGINT (a person). Each call waits for a signal of its own.
pub async fn shutdown_signal() {
    match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals can't be listened to: this process ends only when killed");
            std::future::pending::<()>().await;
        }
    }
}
