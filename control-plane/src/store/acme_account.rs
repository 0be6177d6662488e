//! Rows of `acme_account`: the platform at each authority, and how many orders it may place there now.

use std::time::Duration;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};
use crate::secrets::Sealed;

/// How many orders may be placed: so many at once, and so many in each `PERIOD`.
pub type Orders = u32;

/// That authorities count by.
const PERIOD: Duration = Duration::from_secs(3 * 3600);

/// The sealed credentials; none when there is no account yet.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut SystemTx, directory: &str) -> Result<Option<Sealed>, Error> {
    let row: Option<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("select sealed, wrapped from acme_account where directory = $1")
            .bind(directory)
            .fetch_optional(tx.executor())
            .await?;
    Ok(row.map(sealed))
}

/// Stores the credentials, unless somebody was faster; answers those that are stored.
///
/// # Errors
/// When the database can't be reached.
pub async fn insert(
    tx: &mut SystemTx,
    directory: &str,
    new: &Sealed,
    orders: Orders,
) -> Result<Sealed, Error> {
    let row: (Vec<u8>, Vec<u8>) = sqlx::query_as(
        "insert into acme_account as a (directory, sealed, wrapped, budget) values ($1, $2, $3, $4)
         on conflict (directory) do update set budget = a.budget
         returning sealed, wrapped",
    )
    .bind(directory)
    .bind(&new.ciphertext)
    .bind(&new.wrapped_key)
    .bind(f64::from(orders))
    .fetch_one(tx.executor())
    .await?;
    Ok(sealed(row))
}

/// Takes one order from the budget, which fills up again over time; false when there is none left, or the authority has
/// asked to be left alone.
///
/// # Errors
/// When the database can't be reached.
pub async fn spend(tx: &mut SystemTx, directory: &str, orders: Orders) -> Result<bool, Error> {
    let spent = sqlx::query(
        "update acme_account set budget_at = now(),
            budget = least($2, budget + $2 * extract(epoch from now() - budget_at)::float8 / $3) - 1
         where directory = $1 and coalesce(paused_until <= now(), true)
           and least($2, budget + $2 * extract(epoch from now() - budget_at)::float8 / $3) >= 1",
    )
    .bind(directory)
    .bind(f64::from(orders))
    .bind(PERIOD.as_secs_f64())
    .execute(tx.executor())
    .await?;
    Ok(spent.rows_affected() > 0)
}

/// The authority has asked to be left alone for so long.
///
/// # Errors
/// When the database can't be reached.
pub async fn pause(tx: &mut SystemTx, directory: &str, wait: Duration) -> Result<(), Error> {
    sqlx::query(
        "update acme_account set paused_until = greatest(paused_until, now() + make_interval(secs => $2))
         where directory = $1",
    )
    .bind(directory)
    .bind(wait.as_secs_f64())
    .execute(tx.executor())
    .await?;
    Ok(())
}

fn sealed((ciphertext, wrapped_key): (Vec<u8>, Vec<u8>)) -> Sealed {
    Sealed {
        ciphertext,
        wrapped_key,
    }
}
