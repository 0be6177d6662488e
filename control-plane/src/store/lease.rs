//! Leases by the database's clock: they save work, safety never depends on them.

use std::time::Duration;

use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};

/// Takes, renews or takes over a lease; none while somebody else holds it. One that would last much longer than any
/// was given while the clock was ahead: it counts as one that has run out.
pub async fn take(
    tx: &mut SystemTx,
    name: &str,
    holder: Uuid,
    lifetime: Duration,
) -> Result<Option<i64>, Error> {
    Ok(sqlx::query_scalar(
        "insert into lease as l (name, holder, epoch, expires_at)
         values ($1, $2, 1, now() + make_interval(secs => $3))
         on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at,
            epoch = l.epoch + (l.holder <> excluded.holder)::int
         where l.holder = excluded.holder or l.expires_at not between now() and now() + make_interval(secs => 2 * $3)
         returning epoch",
    )
    .bind(name)
    .bind(holder)
    .bind(lifetime.as_secs_f64())
    .fetch_optional(tx.executor())
    .await?)
}

/// Gives all leases of a holder back, at its end: they have run out. The rows stay, so that epochs only rise.
pub async fn release(tx: &mut SystemTx, holder: Uuid) -> Result<(), Error> {
    sqlx::query("update lease set expires_at = now() - interval '1 second' where holder = $1")
        .bind(holder)
        .execute(tx.executor())
        .await?;
    Ok(())
}
