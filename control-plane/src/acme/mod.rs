//! The platform as a client of certificate authorities (ACME, RFC 8555): one account at each, one order per hostname,
//! however many edges and replicas there are. The reconciler `certificates` brings orders on, step by step; edges answer
//! the authorities from their routes.

pub mod account;
mod authority;
pub mod chain;
pub mod order;
mod problem;
mod transport;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

pub use authority::{Authority, Kind, Validation, Window};
pub use problem::{Error, problem_of};

use crate::{
    config,
    secrets::Sealer,
    store::{Pools, acme_account, tx::SystemTx},
};

/// An authority that could not be opened is tried again after so long: all its orders would wait for it, one after the
/// other.
const TRIED_AGAIN: Duration = Duration::from_secs(30);

/// The configured authorities, each opened when it is first needed.
pub struct Authorities {
    in_order: Vec<config::Authority>,
    opened: BTreeMap<String, Mutex<Opened>>,
    pools: Pools,
    secrets: Sealer,
}

#[derive(Default)]
enum Opened {
    #[default]
    NotYet,
    Yes(Arc<Authority>),
    /// Since then, for this reason.
    No(Instant, String),
}

impl Authorities {
    /// As configured.
    #[must_use]
    pub fn new(configured: &[config::Authority], pools: Pools, secrets: Sealer) -> Self {
        let closed = |authority: &config::Authority| (authority.name.clone(), Mutex::default());
        Self {
            in_order: configured.to_vec(),
            opened: configured.iter().map(closed).collect(),
            pools,
            secrets,
        }
    }

    /// Those that are asked, the first one first.
    #[must_use]
    pub fn in_order(&self) -> &[config::Authority] {
        &self.in_order
    }

    /// One of them, with the platform's account there, which is made if there is none.
    ///
    /// # Errors
    /// When it is not configured (any more), can't be reached, or refuses the account.
    pub async fn open(&self, name: &str) -> Result<Arc<Authority>, Error> {
        let (configured, opened) = self.find(name)?;
        let mut opened = opened.lock().await;
        match &*opened {
            Opened::Yes(authority) => return Ok(Arc::clone(authority)),
            Opened::No(since, why) if since.elapsed() < TRIED_AGAIN => {
                return Err(Error::NotOpened {
                    authority: name.to_owned(),
                    why: why.clone(),
                });
            }
            Opened::No(..) | Opened::NotYet => {}
        }
        match account::open(configured, &self.pools, &self.secrets).await {
            Ok(authority) => {
                let authority = Arc::new(authority);
                *opened = Opened::Yes(Arc::clone(&authority));
                Ok(authority)
            }
            Err(error) => {
                *opened = Opened::No(Instant::now(), error.reason());
                Err(error)
            }
        }
    }

    /// The authority knows the account no more: the next order makes another one.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn forget(&self, authority: &Authority) -> Result<(), Error> {
        let (configured, opened) = self.find(&authority.config().name)?;
        let mut tx = SystemTx::begin(&self.pools).await?;
        acme_account::delete(
            &mut tx,
            configured.directory.as_str(),
            &authority.credentials,
        )
        .await?;
        tx.commit().await?;
        *opened.lock().await = Opened::NotYet;
        Ok(())
    }

    fn find(&self, name: &str) -> Result<(&config::Authority, &Mutex<Opened>), Error> {
        let configured = self.in_order.iter().find(|one| one.name == name);
        configured
            .zip(self.opened.get(name))
            .ok_or_else(|| Error::NotConfigured(name.to_owned()))
    }
}
