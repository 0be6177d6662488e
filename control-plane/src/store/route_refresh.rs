//! Which services' routes have to be looked at now, asked for in the transaction of what makes it necessary.

use domain::id::{DomainId, ServiceId};
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx, Write},
};

/// Asks for the service that has a hostname. With `do nothing` in place of `do update` a change would be lost
/// that is not yet visible to who takes the request.
///
/// # Errors
/// When the database can't be reached.
pub async fn request(tx: &mut impl Write, domain: DomainId) -> Result<(), Error> {
    sqlx::query(
        "insert into route_refresh (service_id, organization_id)
         select service_id, organization_id from domain where id = $1
         on conflict (service_id) do update set requested_at = now()",
    )
    .bind(domain.uuid())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Those asked for, the longest waiting first.
pub async fn requested(tx: &mut SystemTx, limit: i64) -> Result<Vec<ServiceId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select service_id from route_refresh order by requested_at, service_id limit $1",
    )
    .bind(limit)
    .fetch_all(tx.executor())
    .await?;
    Ok(ids.into_iter().map(Into::into).collect())
}

/// Takes the request: whoever asks from now on asks anew.
pub async fn take(tx: &mut SystemTx, service: ServiceId) -> Result<(), Error> {
    sqlx::query("delete from route_refresh where service_id = $1")
        .bind(service.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}
