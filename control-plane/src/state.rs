//! What every part of a running control plane shares. Cheap to clone.

use std::{ops::Deref, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    acme::Authorities,
    audit,
    ca::PlatformKeys,
    dns::{Resolver, Zone, owner::Owner},
    feed::route::{RENDERING, Rendering},
    http::middleware::Limits,
    identity::{Sessions, password::Passwords},
    logs::{LogStore, PostgresLogs},
    secrets::{LocalKey, Sealer},
    slots::Slots,
    store::{self, Pools, tx::SystemTx},
    waker::Waker,
};

/// Streams that one person or token holder may read at once; each looks into the database again and again.
const STREAMS_EACH: usize = 20;
/// And all together, of one replica.
const STREAMS: usize = 300;
/// Uploads of one organization at once.
const UPLOADS_EACH: usize = 3;
/// And of all together, of one replica.
const UPLOADS: usize = 8;

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
    /// How routes are rendered.
    pub rendering: Rendering,
    /// Log lines of builds and instances.
    pub logs: Arc<dyn LogStore>,
    /// Recognises bearer tokens.
    pub sessions: Sessions,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Looks up tenants' own hostnames.
    pub dns: Resolver,
    /// Where the platform's own names are, when it keeps them itself.
    pub zone: Option<Zone>,
    /// Issue certificates for them.
    pub authorities: Authorities,
    /// Rates per token and address.
    pub limits: Limits,
    /// Event streams and logs that are being read.
    pub streams: Slots,
    /// Working trees that are being uploaded; each may need the archive limit of disk.
    pub uploads: Slots,
    /// Writes down what changed nothing else.
    pub recorder: audit::Recorder,
    /// Wakes reconcilers, feeds and event streams; call it after a commit.
    pub waker: Waker,
    /// Cancelled when the replica is about to end: it leaves the background work to others and is no longer
    /// ready, but still answers. Cancelled by [`Self::shutdown`] at the latest.
    pub leaving: CancellationToken,
    /// Cancelled when the replica ends: listeners and streams close.
    pub shutdown: CancellationToken,
}

impl State {
    /// Connects to what the configuration names.
    ///
    /// # Errors
    /// When the database can't be reached, or `migrate` has not made the platform's keys.
    pub async fn connect(config: Config) -> anyhow::Result<Self> {
        Self::connect_rendering(config, RENDERING).await
    }

    /// The same for a program that renders routes in another way.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_rendering(config: Config, rendering: Rendering) -> anyhow::Result<Self> {
        let pools = Pools::connect(&config.database).await?;
        let secrets = Sealer::new(LocalKey::read(&config.keys.encryption_key_file)?);
        let keys = PlatformKeys::load(&mut SystemTx::begin(&pools).await?, &secrets).await?;
        let zone = zone(&config, &pools).await?;
        let shutdown = CancellationToken::new();
        Ok(Self(Arc::new(Shared {
            sessions: Sessions::new(pools.clone()),
            passwords: Passwords::new()?,
            limits: Limits::connect(&config.limits, config.redis.as_ref()).await?,
            dns: Resolver::new(&config.dns),
            zone,
            authorities: Authorities::new(
                &config.certificates.authorities,
                pools.clone(),
                secrets.clone(),
            ),
            streams: Slots::new(STREAMS_EACH, STREAMS),
            uploads: Slots::new(UPLOADS_EACH, UPLOADS),
            recorder: audit::Recorder::new(pools.clone()),
            logs: Arc::new(PostgresLogs::connect(&config.database, config.logs.budget)?),
            rendering,
            config,
            pools,
            secrets,
            keys,
            waker: Waker::default(),
            leaving: shutdown.child_token(),
            shutdown,
        })))
    }
}

async fn zone(config: &Config, pools: &Pools) -> anyhow::Result<Option<Zone>> {
    let Some(provider) = &config.dns.provider else {
        return Ok(None);
    };
    let installation = store::dns::installation(&mut SystemTx::begin(pools).await?).await?;
    let owner = Owner::new(installation);
    let zone = Zone::connect(provider, &config.platform_domain, owner).await?;
    Ok(Some(zone))
}

impl Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
