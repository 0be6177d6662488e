//! Copies one container's lines, from where the last copy ended until the container ends.

use std::{sync::Arc, time::Instant};

use domain::id::InstanceId;
use futures::StreamExt;
use protocol::log::LogSource;

use super::{Logs, Rate};
use crate::runtime::Runtime;

/// Lines that are ready together are written together.
const TOGETHER: usize = 256;

/// Copies until the container ends or the engine is lost.
pub async fn follow(runtime: Arc<dyn Runtime>, logs: Logs, instance: InstanceId) {
    let source = LogSource::Instance(instance);
    let since = logs.last_line_at(source).await;
    let mut lines = runtime.logs(instance, since).ready_chunks(TOGETHER);
    let mut rate = Rate::new(Instant::now());
    while let Some(chunk) = lines.next().await {
        let (mut passed, mut dropped) = (Vec::new(), 0);
        for line in chunk {
            match line {
                Ok(line) => {
                    if let Some(before) = rate.admit(Instant::now()) {
                        dropped += before;
                        passed.push(line);
                    }
                }
                Err(error) => tracing::debug!(%instance, %error, "a container's log broke off"),
            }
        }
        if !passed.is_empty() || dropped > 0 {
            logs.append(source, passed, dropped).await;
        }
    }
    let dropped = rate.take_dropped();
    if dropped > 0 {
        logs.append(source, Vec::new(), dropped).await;
    }
}
