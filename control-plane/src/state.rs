//! What every part of a running control plane shares. Cheap to clone.

use std::{ops::Deref, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    Config, audit,
    ca::PlatformKeys,
    http::middleware::Limits,
    identity::{Sessions, password::Passwords},
    logs::{LogStore, PostgresLogs},
    secrets::{LocalKey, Sealer},
    store::{Pools, tx::SystemTx},
    waker::Waker,
};

/// Handle to what all parts share.
#[derive(Clone)]
pub struct State(Arc<Shared>);

/// What all parts share.
pub struct Shared {
    /// The configuration file.
    pub config: Config,
    /// The only way to the database, through [`crate::store::tx`].
    pub pools: Pools,
    /// Seals and opens secrets.
    pub secrets: Sealer,
    /// The CA and the signing keys.
    pub keys: PlatformKeys,
    /// Log lines of builds and instances.
    pub logs: Arc<dyn LogStore>,
    /// Recognises bearer tokens.
    pub sessions: Sessions,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Rates per token and address.
    pub limits: Limits,
    /// Writes down what changed nothing else.
    pub recorder: audit::Recorder,
    /// Wakes reconcilers, feeds and event streams; call it after a commit.
    pub waker: Waker,
    /// Cancelled when the replica is to end: streams close, reconcilers stop.
    pub shutdown: CancellationToken,
}

impl State {
    /// Connects to what the configuration names.
    ///
    /// # Errors
    /// When the database can't be reached, or `migrate` has not made the platform's keys.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        let pools = Pools::connect(&config.database).await?;
        let secrets = Sealer::new(LocalKey::read(&config.keys.encryption_key_file)?);
        let keys = PlatformKeys::load(&mut SystemTx::begin(&pools).await?, &secrets).await?;
        Ok(Self(Arc::new(Shared {
            sessions: Sessions::new(pools.clone()),
            passwords: Passwords::new()?,
            limits: Limits::new(&config.limits),
            recorder: audit::Recorder::new(pools.clone()),
            logs: Arc::new(PostgresLogs::connect(&config.database, config.logs.budget)?),
            config,
            pools,
            secrets,
            keys,
            waker: Waker::default(),
            shutdown: CancellationToken::new(),
        })))
    }
}

impl Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
