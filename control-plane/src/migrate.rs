//! `control-plane migrate`: run before a new version is rolled out. Brings the schema up to date as
//! its owner, and makes the keys that all replicas share.

use anyhow::Context as _;

use crate::{
    Config, ca, logs,
    secrets::{LocalKey, Sealer},
    store::{self, Pools, tx::SystemTx},
};

/// Brings everything in the database up to date; run again it changes nothing.
///
/// # Errors
/// What was tried and what to do.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    store::migrate(&config.database)
        .await
        .context("can't bring the database's schema up to date")?;
    logs::migrate(&config.database).await?;
    let sealer = Sealer::new(LocalKey::read(&config.keys.encryption_key_file)?);
    let pools = Pools::connect(&config.database).await?;
    let mut tx = SystemTx::begin(&pools).await?;
    ca::ensure(&mut tx, &sealer, &config.platform_domain)
        .await
        .context("can't make the platform's keys")?;
    tx.commit().await?;
    Ok(())
}
