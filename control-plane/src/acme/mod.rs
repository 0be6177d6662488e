//! The platform as a client of certificate authorities (ACME, RFC 8555): one account at each, one order per hostname,
//! however many edges and replicas there are. The reconciler `certificates` brings orders on, step by step; edges answer
//! the authorities from their routes.

pub mod account;
mod authority;
pub mod chain;
pub mod order;
mod problem;
mod transport;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::OnceCell;

pub use authority::{Authority, Kind, Validation};
pub use problem::{Error, problem_of};

use crate::{config, secrets::Sealer, store::Pools};

/// The configured authorities, each opened when it is first needed.
pub struct Authorities {
    in_order: Vec<config::Authority>,
    opened: BTreeMap<String, OnceCell<Arc<Authority>>>,
    pools: Pools,
    secrets: Sealer,
}

impl Authorities {
    /// As configured.
    #[must_use]
    pub fn new(configured: &[config::Authority], pools: Pools, secrets: Sealer) -> Self {
        let cell = |authority: &config::Authority| (authority.name.clone(), OnceCell::new());
        Self {
            in_order: configured.to_vec(),
            opened: configured.iter().map(cell).collect(),
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
        let unknown = || Error::NotConfigured(name.to_owned());
        let configured = self
            .in_order
            .iter()
            .find(|authority| authority.name == name);
        let configured = configured.ok_or_else(unknown)?;
        let cell = self.opened.get(name).ok_or_else(unknown)?;
        let opening = || async {
            let account = account::open(configured, &self.pools, &self.secrets).await?;
            Ok(Arc::new(account))
        };
        cell.get_or_try_init(opening).await.cloned()
    }
}
