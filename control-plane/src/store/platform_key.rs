//! Rows of `platform_key`.

use crate::secrets::Sealed;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};

/// One version of a key.
pub struct PlatformKey {
    pub version: i32,
    /// PEM, or base64 of a bare public key.
    pub public: String,
    pub sealed: Sealed,
}

/// Until the transaction's end nobody else makes keys.
pub async fn lock(tx: &mut SystemTx) -> Result<(), Error> {
    sqlx::query("select pg_advisory_xact_lock(hashtext('railhead platform keys'))")
        .execute(tx.executor())
        .await?;
    Ok(())
}

pub async fn newest(tx: &mut SystemTx, name: &str) -> Result<Option<PlatformKey>, Error> {
    let row: Option<(i32, String, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "select version, public_pem, ciphertext, wrapped_key from platform_key
         where name = $1 and retired_at is null order by version desc limit 1",
    )
    .bind(name)
    .fetch_optional(tx.executor())
    .await?;
    Ok(
        row.map(|(version, public, ciphertext, wrapped_key)| PlatformKey {
            version,
            public,
            sealed: Sealed {
                ciphertext,
                wrapped_key,
            },
        }),
    )
}

pub async fn insert(tx: &mut SystemTx, name: &str, key: &PlatformKey) -> Result<(), Error> {
    sqlx::query(
        "insert into platform_key (name, version, public_pem, ciphertext, wrapped_key)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(name)
    .bind(key.version)
    .bind(&key.public)
    .bind(&key.sealed.ciphertext)
    .bind(&key.sealed.wrapped_key)
    .execute(tx.executor())
    .await?;
    Ok(())
}
