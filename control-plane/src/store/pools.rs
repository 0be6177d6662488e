//! One connection pool per database role. Private to the store: everybody else gets transactions.

use std::{str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::config::Database;

use super::{Error, connection::answered};

/// A request that gets no connection for this long is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that is not in use answers at once, or leads nowhere any more.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// One that was in use may still have to roll back.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The server has this long to say that it has given a statement up.
const GRACE: Duration = Duration::from_secs(5);

/// The pools of the system and the app role.
#[derive(Clone)]
pub struct Pools {
    pub(super) system: PgPool,
    pub(super) app: PgPool,
    /// A server that has been silent for this long is gone.
    pub(super) patience: Duration,
}

impl Pools {
    /// Opens both pools; connections are made when they are needed, so that a replica can start
    /// while the database is away.
    ///
    /// # Errors
    /// When an address is malformed.
    pub async fn connect(config: &Database) -> Result<Self, Error> {
        Ok(Self {
            system: pool(
                config,
                &config.system_url,
                "railhead-system",
                config.connections,
            )?,
            app: pool(config, &config.app_url, "railhead-app", config.connections)?,
            patience: config.statement_timeout.duration() + GRACE,
        })
    }

    /// Pools of this many connections on addresses of a test's own database.
    #[must_use]
    pub fn from_parts(system: PgPool, app: PgPool) -> Self {
        let patience = crate::config::STATEMENT_TIMEOUT.duration() + GRACE;
        Self {
            system,
            app,
            patience,
        }
    }

    /// Where LISTEN connections are made: they need a connection of their own.
    #[must_use]
    pub fn listen_options(&self) -> PgConnectOptions {
        self.system.connect_options().as_ref().clone()
    }
}

/// A lazily connected pool on `url`.
pub(crate) fn pool(
    config: &Database,
    url: &SecretString,
    application_name: &str,
    connections: u32,
) -> Result<PgPool, Error> {
    let statement_timeout = format!("{}ms", config.statement_timeout.as_millis());
    let options = PgConnectOptions::from_str(url.expose_secret())?
        .application_name(application_name)
        .options([
            ("statement_timeout", statement_timeout.as_str()),
            // A replica that stands still in mid-transaction keeps its locks from the others no longer.
            ("idle_in_transaction_session_timeout", "15s"),
            ("lock_timeout", "10s"),
        ]);
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .max_lifetime(Duration::from_secs(1_800))
        // The pool's own tests have no limit: a place would be lost with each connection that leads nowhere.
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(answers(connection, PING_TIMEOUT)))
        .after_release(|connection, _| Box::pin(answers(connection, ROLLBACK_TIMEOUT)))
        .connect_lazy_with(options))
}

async fn answers(connection: &mut PgConnection, within: Duration) -> sqlx::Result<bool> {
    answered(within, connection.ping()).await?;
    Ok(true)
}
