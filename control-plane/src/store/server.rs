//! What the database's server is: everything else here takes it for one that can be written to.

use super::{
    Error,
    tx::{Access as _, SystemTx},
};

/// Whether it takes changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// It does.
    Taken,
    /// It follows another server.
    RefusedByStandby,
    /// It was set so.
    Refused,
}

/// Whether it takes changes from this role.
pub async fn writes(tx: &mut SystemTx) -> Result<Writes, Error> {
    let (standby, read_only): (bool, bool) = sqlx::query_as(
        "select pg_is_in_recovery(), current_setting('transaction_read_only')::boolean",
    )
    .fetch_one(tx.executor())
    .await?;
    Ok(match (standby, read_only) {
        (true, _) => Writes::RefusedByStandby,
        (false, true) => Writes::Refused,
        (false, false) => Writes::Taken,
    })
}
