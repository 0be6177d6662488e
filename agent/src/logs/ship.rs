//! Ships lines to the control plane, a batch at a time, and keeps trying without a limit of time:
//! what does not fit on the disk meanwhile is counted there.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::Logs;
use crate::control_plane::{ControlPlane, ShipError};

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// Lines that come close together travel together.
const GATHER: Duration = Duration::from_millis(200);

/// Runs until the task is dropped.
pub async fn ship(logs: Logs, control_plane: Arc<dyn ControlPlane>) {
    loop {
        while let Some(batch) = logs.next_batch().await {
            let mut delays = delays();
            while !send(control_plane.as_ref(), &batch).await {
                tokio::time::sleep(delays.next().unwrap_or(LONGEST)).await;
            }
            logs.acknowledge(batch).await;
        }
        logs.arrived().await;
        tokio::time::sleep(GATHER).await;
    }
}

/// Whether the batch is off our hands.
async fn send(control_plane: &dyn ControlPlane, batch: &protocol::log::LogBatch) -> bool {
    match control_plane.ship_logs(batch).await {
        Ok(()) => true,
        Err(ShipError::Refused(reason)) => {
            tracing::warn!(source = ?batch.source, lines = batch.lines.len(), %reason, "the control plane refuses log lines; they are given up");
            true
        }
        Err(ShipError::Unavailable(reason)) => {
            tracing::debug!(%reason, "log lines wait for the control plane");
            false
        }
    }
}

fn delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(SHORTEST)
        .with_max_delay(LONGEST)
        .with_jitter()
        .without_max_times()
        .build()
}
