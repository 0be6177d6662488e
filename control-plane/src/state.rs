//! What every part of a running control plane shares. Cheap to clone.

use std::{ops::Deref, sync::Arc};

use crate::{Config, store::Pools};

/// Handle to what all parts share.
#[derive(Clone)]
pub struct State(Arc<Shared>);

/// What all parts share.
pub struct Shared {
    /// The configuration file.
    pub config: Config,
    /// The only way to the database, through [`crate::store::tx`].
    pub pools: Pools,
}

impl State {
    /// Connects to what the configuration names.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        let pools = Pools::connect(&config.database).await?;
        Ok(Self(Arc::new(Shared { config, pools })))
    }
}

impl Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
