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

/// What may be done at an authority now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// One more order.
    Open,
    /// None: so many were placed of late, or the authority has asked to be left alone.
    Spent,
    /// There is no account.
    NoAccount,
}

/// Whether an order may be placed. The budget fills up again over time.
///
/// # Errors
/// When the database can't be reached.
pub async fn budget(tx: &mut SystemTx, directory: &str, orders: Orders) -> Result<Budget, Error> {
    let open: Option<bool> = sqlx::query_scalar(
        "select coalesce(paused_until <= now(), true)
            and least($2, budget + $2 * extract(epoch from now() - budget_at)::float8 / $3) >= 1
         from acme_account where directory = $1",
    )
    .bind(directory)
    .bind(f64::from(orders))
    .bind(PERIOD.as_secs_f64())
    .fetch_optional(tx.executor())
    .await?;
    Ok(match open {
        Some(true) => Budget::Open,
        Some(false) => Budget::Spent,
        None => Budget::NoAccount,
    })
}

/// Takes one order from the budget.
///
/// # Errors
/// When the database can't be reached.
pub async fn spend(tx: &mut SystemTx, directory: &str, orders: Orders) -> Result<(), Error> {
    sqlx::query(
        "update acme_account set budget_at = now(),
            budget = least($2, budget + $2 * extract(epoch from now() - budget_at)::float8 / $3) - 1
         where directory = $1",
    )
    .bind(directory)
    .bind(f64::from(orders))
    .bind(PERIOD.as_secs_f64())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// The authority does not know these credentials any more.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete(tx: &mut SystemTx, directory: &str, sealed: &[u8]) -> Result<(), Error> {
    sqlx::query("delete from acme_account where directory = $1 and sealed = $2")
        .bind(directory)
        .bind(sealed)
        .execute(tx.executor())
        .await?;
    Ok(())
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
