//! Writes down what changed nothing else: denials, failed attempts, reads of secrets. The first ten
//! of a minute by one actor from one address are written at once; what follows is counted and
//! written as one event when the minute ends, so that nobody can fill the log.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use domain::id::OrganizationId;

use crate::store::{self, Pools, tx::SystemTx};

use super::{ActorId, Entry};

const MINUTE: Duration = Duration::from_secs(60);
const AT_ONCE: u32 = 10;
/// Beyond so many actors and addresses at once, further ones share a window.
const WINDOWS_MAX: usize = 10_000;

type Key = (ActorId, Option<IpAddr>);
type Counted = HashMap<(&'static str, Option<OrganizationId>), Entry>;

/// Clones share the counters.
#[derive(Clone)]
pub struct Recorder {
    pools: Pools,
    windows: Arc<Mutex<HashMap<Key, Window>>>,
}

struct Window {
    began: Instant,
    written: u32,
    counted: Counted,
}

impl Recorder {
    /// With empty counters.
    #[must_use]
    pub fn new(pools: Pools) -> Self {
        Self {
            pools,
            windows: Arc::default(),
        }
    }

    /// Writes an event before the answer is given, or counts it.
    ///
    /// # Errors
    /// When the database can't be reached: then the answer must not be given either.
    pub async fn record(
        &self,
        organization: Option<OrganizationId>,
        entry: Entry,
    ) -> Result<(), store::Error> {
        match self.admit(organization, entry) {
            Some(entry) => self.write(vec![(organization, entry)]).await,
            None => Ok(()),
        }
    }

    /// Writes what was counted in minutes that have ended; all of it when `everything`.
    ///
    /// # Errors
    /// When the database can't be reached; what was counted is then lost.
    pub async fn flush(&self, everything: bool) -> Result<(), store::Error> {
        let ended = self.take_ended(everything);
        self.write(ended).await
    }

    fn admit(&self, organization: Option<OrganizationId>, entry: Entry) -> Option<Entry> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (entry.source.actor, entry.source.address);
        let full = windows.len() >= WINDOWS_MAX && !windows.contains_key(&key);
        let key = if full {
            (ActorId::Anonymous, None)
        } else {
            key
        };
        let window = windows.entry(key).or_insert_with(|| Window {
            began: Instant::now(),
            written: 0,
            counted: Counted::new(),
        });
        if window.written < AT_ONCE {
            window.written += 1;
            return Some(entry);
        }
        window
            .counted
            .entry((entry.action, organization))
            .and_modify(|counted| counted.occurrences += 1)
            .or_insert(entry);
        None
    }

    fn take_ended(&self, everything: bool) -> Vec<(Option<OrganizationId>, Entry)> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = windows.extract_if(|_, window| everything || window.began.elapsed() >= MINUTE);
        ended
            .flat_map(|(_, window)| window.counted)
            .map(|((_, organization), entry)| (organization, entry))
            .collect()
    }

    async fn write(
        &self,
        entries: Vec<(Option<OrganizationId>, Entry)>,
    ) -> Result<(), store::Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut tx = SystemTx::begin(&self.pools).await?;
        for (organization, entry) in entries {
            store::audit_event::insert_alone(&mut tx, organization, &entry).await?;
        }
        tx.commit().await
    }
}
