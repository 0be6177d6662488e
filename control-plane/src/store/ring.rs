//! Rings of edges: the version that each ring's feeds are rendered in.

use std::collections::BTreeMap;

use domain::ring::Ring;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};
use crate::feed::route::{Rendering, Rings};

/// What routes are rendered with until the transaction's end: meanwhile no ring changes its version.
///
/// # Errors
/// [`Error::NewerRendering`] when a newer program has gone ahead.
pub async fn rings(tx: &mut SystemTx, rendering: Rendering) -> Result<Rings, Error> {
    let rows: Vec<(String, i32)> =
        sqlx::query_as("select name, version from ring order by name for share")
            .fetch_all(tx.executor())
            .await?;
    let mut versions = BTreeMap::new();
    for (name, version) in rows {
        let ring: Ring = name.parse().map_err(|e| Error::corrupt("ring", e))?;
        if version > rendering.version {
            return Err(Error::NewerRendering { ring, version });
        }
        versions.insert(ring, version);
    }
    Ok(Rings {
        rendering,
        versions,
    })
}

/// The newest version that a ring is at.
///
/// # Errors
/// When the database can't be reached.
pub async fn newest_version(tx: &mut SystemTx) -> Result<i32, Error> {
    Ok(sqlx::query_scalar("select max(version) from ring")
        .fetch_one(tx.executor())
        .await?)
}

/// Each ring's version.
///
/// # Errors
/// When the database can't be reached.
pub async fn versions(tx: &mut SystemTx) -> Result<Vec<(String, i32)>, Error> {
    Ok(sqlx::query_as("select name, version from ring")
        .fetch_all(tx.executor())
        .await?)
}
