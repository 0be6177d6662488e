//! Rows of `certificate`.

use chrono::{DateTime, TimeDelta, Utc};
use domain::id::CertificateId;
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};
use crate::secrets::Sealed;

/// A certificate of the internal CA that is stored.
pub struct Stored {
    pub id: CertificateId,
    pub version: i64,
    /// To be renewed.
    pub due: bool,
}

/// A certificate to be stored.
pub struct New<'a> {
    pub id: CertificateId,
    pub version: i64,
    pub names: &'a [String],
    pub chain_pem: &'a str,
    pub key: &'a Sealed,
    pub not_after: DateTime<Utc>,
}

/// The internal CA's certificate for these names, due when it has less than `renewal` left; until the
/// transaction's end nobody else makes one.
pub async fn lock_internal(
    tx: &mut SystemTx,
    names: &[String],
    renewal: TimeDelta,
) -> Result<Option<Stored>, Error> {
    sqlx::query("select pg_advisory_xact_lock(hashtext('railhead internal certificate'))")
        .execute(tx.executor())
        .await?;
    let row: Option<(Uuid, i64, bool)> = sqlx::query_as(
        "select id, key_version, not_after < now() + $2::bigint * interval '1 second' from certificate
         where issuer = 'internal' and names = $1",
    )
    .bind(names)
    .bind(renewal.num_seconds())
    .fetch_optional(tx.executor())
    .await?;
    Ok(row.map(|(id, version, due)| Stored {
        id: id.into(),
        version,
        due,
    }))
}

/// Under which id and version the next one is kept.
pub fn next(stored: Option<&Stored>) -> (CertificateId, i64) {
    stored.map_or_else(
        || (CertificateId::new(), 1),
        |stored| (stored.id, stored.version + 1),
    )
}

pub async fn upsert(tx: &mut SystemTx, new: &New<'_>) -> Result<(), Error> {
    sqlx::query(
        "insert into certificate (id, names, chain_pem, key_sealed, key_wrapped, key_version, issuer, not_after)
         values ($1, $2, $3, $4, $5, $6, 'internal', $7)
         on conflict (id) do update set chain_pem = excluded.chain_pem, key_sealed = excluded.key_sealed,
            key_wrapped = excluded.key_wrapped, key_version = excluded.key_version, not_after = excluded.not_after",
    )
    .bind(new.id.uuid())
    .bind(new.names)
    .bind(new.chain_pem)
    .bind(&new.key.ciphertext)
    .bind(&new.key.wrapped_key)
    .bind(new.version)
    .bind(new.not_after)
    .execute(tx.executor())
    .await?;
    Ok(())
}
