//! One connection pool per database role. Private to the store: everybody else gets transactions.

use std::{str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::config::Database;

use super::Error;

/// A request that gets no connection for this long is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// The pools of the system and the app role.
#[derive(Clone)]
pub struct Pools {
    pub(super) system: PgPool,
    pub(super) app: PgPool,
}

impl Pools {
    /// Opens both pools; connections are made when they are needed, so that a replica can start
    /// while the database is away.
    ///
    /// # Errors
    /// When an address is malformed.
    pub async fn connect(config: &Database) -> Result<Self, Error> {
        Ok(Self {
            system: pool(&config.system_url, "railhead-system", config.connections)?,
            app: pool(&config.app_url, "railhead-app", config.connections)?,
        })
    }

    /// Pools of this many connections on addresses of a test's own database.
    #[must_use]
    pub fn from_parts(system: PgPool, app: PgPool) -> Self {
        Self { system, app }
    }

    /// Where LISTEN connections are made: they need a connection of their own.
    #[must_use]
    pub fn listen_options(&self) -> PgConnectOptions {
        self.system.connect_options().as_ref().clone()
    }
}

/// A lazily connected pool on `url`.
pub(crate) fn pool(
    url: &SecretString,
    application_name: &str,
    connections: u32,
) -> Result<PgPool, Error> {
    let options = PgConnectOptions::from_str(url.expose_secret())?
        .application_name(application_name)
        .options([
            ("statement_timeout", "30s"),
            // A replica that stands still in mid-transaction keeps its locks from the others no longer.
            ("idle_in_transaction_session_timeout", "15s"),
            ("lock_timeout", "10s"),
        ]);
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .max_lifetime(Duration::from_secs(1_800))
        .connect_lazy_with(options))
}
