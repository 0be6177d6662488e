//! Questions to the scheduler: at most one pending per service, and a trigger that comes while one
//! is being answered makes the next.

use std::collections::BTreeSet;

use domain::id::{EvaluationId, OrganizationId, ServiceId};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx, Write},
};

/// An evaluation in hand.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    pub id: EvaluationId,
    pub organization: OrganizationId,
    pub service: ServiceId,
}

/// What found no place, as shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    pub deployment_id: domain::id::DeploymentId,
    pub region: String,
    pub missing: u32,
    pub explanation: String,
}

/// Asks the scheduler to look at a service; in the transaction of what makes it necessary. With
/// `do nothing` in place of `do update` a trigger would be lost that is not yet visible to a claim.
pub async fn request(
    tx: &mut impl Write,
    organization: OrganizationId,
    service: ServiceId,
    trigger: &str,
) -> Result<(), Error> {
    sqlx::query(
        "insert into evaluation (id, organization_id, service_id, triggers) values ($1, $2, $3, array[$4])
         on conflict (service_id) where state = 'pending' do update set updated_at = now(),
            triggers = case when $4 = any(evaluation.triggers) then evaluation.triggers
                            else evaluation.triggers || $4 end",
    )
    .bind(EvaluationId::new().uuid())
    .bind(organization.uuid())
    .bind(service.uuid())
    .bind(trigger)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Takes the oldest pending one. It is committed as running before the world is looked at.
pub async fn claim(tx: &mut SystemTx, holder: Uuid) -> Result<Option<Claim>, Error> {
    let row: Option<(Uuid, Uuid, Uuid)> = sqlx::query_as(
        "update evaluation set state = 'running', claimed_by = $1, updated_at = now(),
            claimed_until = now() + interval '30 seconds'
         where id = (select id from evaluation where state = 'pending'
                     order by created_at limit 1 for update skip locked)
         returning id, organization_id, service_id",
    )
    .bind(holder)
    .fetch_optional(tx.executor())
    .await?;
    Ok(row.map(|(id, organization, service)| Claim {
        id: id.into(),
        organization: organization.into(),
        service: service.into(),
    }))
}

/// Ends one. Only the newest blocked one of a service says what is short.
pub async fn finish(
    tx: &mut SystemTx,
    claim: &Claim,
    shortages: Vec<Shortage>,
) -> Result<(), Error> {
    sqlx::query("delete from evaluation where service_id = $1 and (state = 'blocked' or id = $2)")
        .bind(claim.service.uuid())
        .bind(claim.id.uuid())
        .execute(tx.executor())
        .await?;
    if shortages.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into evaluation (id, organization_id, service_id, state, triggers, exhausted)
         values ($1, $2, $3, 'blocked', '{}', $4)",
    )
    .bind(claim.id.uuid())
    .bind(claim.organization.uuid())
    .bind(claim.service.uuid())
    .bind(Json(shortages))
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Gives back what a holder has in hand, at its end; [`revive`] makes it pending again.
pub async fn release(tx: &mut SystemTx, holder: Uuid) -> Result<(), Error> {
    sqlx::query(
        "update evaluation set claimed_until = now() - interval '1 second'
         where state = 'running' and claimed_by = $1",
    )
    .bind(holder)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Makes those pending again whose answerer has died, and blocked ones once there may be room:
/// at once when `capacity` has appeared, else after 30 s. What lies too far ahead was written while the clock was.
pub async fn revive(tx: &mut impl Write, capacity: bool) -> Result<u64, Error> {
    let rows: Vec<(Uuid, Uuid, Uuid)> = sqlx::query_as(
        "select id, organization_id, service_id from evaluation
         where (state = 'running' and claimed_until not between now() and now() + interval '60 seconds')
            or (state = 'blocked' and ($1
                or updated_at not between now() - interval '30 seconds' and now() + interval '30 seconds'))
         order by service_id",
    )
    .bind(capacity)
    .fetch_all(tx.executor())
    .await?;
    let asked: BTreeSet<(Uuid, Uuid)> = rows.iter().map(|(_, o, service)| (*service, *o)).collect();
    for (service, organization) in &asked {
        request(tx, (*organization).into(), (*service).into(), "retry").await?;
    }
    // These only: another may have been handed over since, and nobody has asked about that one.
    let ids: Vec<Uuid> = rows.into_iter().map(|(id, ..)| id).collect();
    for statement in [
        "update evaluation set updated_at = now() where state = 'blocked' and id = any($1)",
        "delete from evaluation where state = 'running' and id = any($1)",
    ] {
        sqlx::query(statement)
            .bind(&ids)
            .execute(tx.executor())
            .await?;
    }
    Ok(asked.len() as u64)
}

/// What a service is short of, if anything.
pub async fn shortages(tx: &mut SystemTx, service: ServiceId) -> Result<Vec<Shortage>, Error> {
    let row: Option<Json<Vec<Shortage>>> = sqlx::query_scalar(
        "select exhausted from evaluation where service_id = $1 and state = 'blocked'
         and exhausted is not null order by created_at desc limit 1",
    )
    .bind(service.uuid())
    .fetch_optional(tx.executor())
    .await?;
    Ok(row.map(|Json(shortages)| shortages).unwrap_or_default())
}
