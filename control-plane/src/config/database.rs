//! The part `[database]`: where PostgreSQL is, and how long it may take.

use domain::quantity::Span;
use secrecy::SecretString;
use serde::Deserialize;

/// Where PostgreSQL is. The URLs hold passwords, unless a socket or certificate replaces them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Owns the schema; used by `migrate` only.
    pub owner_url: SecretString,
    /// Reconcilers and the node API; passes row-level security.
    pub system_url: SecretString,
    /// The API's tenant transactions; row-level security holds.
    pub app_url: SecretString,
    /// The log store's own database.
    pub logs_url: SecretString,
    /// Connections of each pool.
    #[serde(default = "default_connections")]
    pub connections: u32,
    /// The server gives up a statement that takes longer.
    #[serde(default = "default_statement_timeout")]
    pub statement_timeout: Span,
}

/// Unless the file says otherwise.
pub const STATEMENT_TIMEOUT: Span = Span::seconds(30);

const fn default_statement_timeout() -> Span {
    STATEMENT_TIMEOUT
}

fn default_connections() -> u32 {
    10
}

impl Database {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.connections == 0 {
            return Err("database.connections must be at least 1".to_owned());
        }
        if self.statement_timeout < Span::seconds(1) {
            return Err("database.statement_timeout must be at least 1s".to_owned());
        }
        Ok(())
    }
}
