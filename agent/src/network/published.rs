//! Watches the engine and keeps published ports open while it is away, also when the agent itself starts anew
//! meanwhile: where ports led is on its disk.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::Networks;
use crate::{
    disk,
    reconcile::{Engine, Observed},
    runtime::PublishedPort,
};

/// While the engine is away: containers end without it too. An engine that has not answered a new agent for so
/// long is one that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Runs until the task is dropped. Rules that stand then go on standing.
pub async fn keep(
    networks: Arc<Networks>,
    mut memory: Memory,
    mut observed: watch::Receiver<Arc<Observed>>,
) {
    let begun = Instant::now();
    let mut failed = false;
    loop {
        let now = Arc::clone(&observed.borrow_and_update());
        let result = match now.engine {
            Engine::Answers => {
                let result = networks.stand_down().await;
                memory.remember(&now.published).await;
                result
            }
            Engine::Unasked if begun.elapsed() < LOOK_AGAIN => Ok(()),
            Engine::Unasked | Engine::Away => networks.stand_by(&memory.ports).await,
        };
        if let Err(error) = &result
            && !failed
        {
            tracing::error!(%error, "published ports are not looked after");
        }
        failed = result.is_err();
        let settled = now.engine == Engine::Answers && !failed;
        tokio::select! {
            changed = observed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_AGAIN), if !settled => {}
        }
    }
}

/// Where published ports led when the engine answered last.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    ports: BTreeSet<PublishedPort>,
}

impl Memory {
    /// From this file.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn load(path: PathBuf) -> Result<Self, disk::Error> {
        let ports = disk::read(&path)?.unwrap_or_default();
        Ok(Self { path, ports })
    }

    async fn remember(&mut self, ports: &BTreeSet<PublishedPort>) {
        if self.ports == *ports {
            return;
        }
        self.ports.clone_from(ports);
        if let Err(error) = disk::write(&self.path, &self.ports).await {
            tracing::error!(%error, "where published ports lead can't be remembered");
        }
    }
}
