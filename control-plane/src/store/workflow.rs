//! Workflows at rest. Whoever settles an attempt must still hold it: step, attempt and the platform's
//! epoch are compared in the statement that advances the row.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::id::{OrganizationId, WorkflowId};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx, Write},
};

/// A workflow that is to begin.
pub struct New<'a> {
    pub organization: Option<OrganizationId>,
    pub kind: &'a str,
    pub subject: String,
    pub name: &'a str,
    pub first_step: &'a str,
}

/// An attempt at a step, in one hand.
#[derive(Debug, Clone)]
pub struct Claim {
    pub id: WorkflowId,
    pub organization: Option<OrganizationId>,
    pub kind: String,
    pub subject: String,
    /// Its steps are taken back, from the one that failed to the first.
    pub undoing: bool,
    pub step: String,
    /// Since when it is at this step, and the database's time now.
    pub step_since: DateTime<Utc>,
    pub now: DateTime<Utc>,
    pub data: Value,
    /// How often the step has failed in a row.
    pub failures: u32,
    attempt: i32,
    epoch: i64,
}

/// Where a workflow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    Step(&'a str),
    /// Back, beginning with this step.
    Undo(&'a str),
    /// It has ended: all done, or all taken back.
    End,
}

/// Begins one in the transaction that makes it necessary; nothing happens when the subject has one.
pub async fn insert(tx: &mut impl Write, new: &New<'_>) -> Result<(), Error> {
    sqlx::query(
        "insert into workflow (id, organization_id, kind, subject, name, step) values ($1, $2, $3, $4, $5, $6)
         on conflict (kind, subject) where finished_at is null do nothing",
    )
    .bind(WorkflowId::new().uuid())
    .bind(new.organization.map(OrganizationId::uuid))
    .bind(new.kind)
    .bind(&new.subject)
    .bind(new.name)
    .bind(new.first_step)
    .execute(tx.executor())
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    organization_id: Option<Uuid>,
    kind: String,
    subject: String,
    undoing: bool,
    step: String,
    step_since: DateTime<Utc>,
    now: DateTime<Utc>,
    data: Value,
    failures: i32,
    attempt: i32,
    epoch: i64,
}

/// Takes the one that is due for longest, for `lifetime`; one whose holder has died counts as due. So does one that
/// was claimed, or put off, for much longer than any is: the clock was ahead then.
pub async fn claim(
    tx: &mut SystemTx,
    kinds: &[&str],
    lifetime: Duration,
) -> Result<Option<Claim>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "update workflow set attempt = attempt + 1, epoch = (select epoch from platform),
            claimed_until = now() + make_interval(secs => $2)
         where id = (select id from workflow where finished_at is null and kind = any($1)
                     and (run_at <= now()
                        or run_at > now() + 2 * least(900, power(2, least(failures, 10))) * interval '1 second')
                     and (claimed_until is null
                        or claimed_until not between now() and now() + make_interval(secs => 2 * $2))
                     order by run_at limit 1 for update skip locked)
         returning id, organization_id, kind, subject, state = 'undoing' as undoing, step, step_since,
            now() as now, data, failures, attempt, epoch",
    )
    .bind(kinds)
    .bind(lifetime.as_secs_f64())
    .fetch_optional(tx.executor())
    .await?;
    Ok(row.map(|row| Claim {
        id: row.id.into(),
        organization: row.organization_id.map(Into::into),
        kind: row.kind,
        subject: row.subject,
        undoing: row.undoing,
        step: row.step,
        step_since: row.step_since,
        now: row.now,
        data: row.data,
        failures: u32::try_from(row.failures).unwrap_or_default(),
        attempt: row.attempt,
        epoch: row.epoch,
    }))
}

macro_rules! held {
    ($set:literal) => {
        concat!(
            "update workflow set claimed_until = null, ",
            $set,
            " where id = $1 and step = $2 and attempt = $3 and epoch = $4 and finished_at is null
              and epoch = (select epoch from platform)"
        )
    };
}

/// Goes on from a step that is done (or taken back, or has failed for good); false when somebody else
/// holds it meanwhile, and then nothing of the transaction may be kept.
pub async fn advance(
    tx: &mut SystemTx,
    claim: &Claim,
    next: Next<'_>,
    problem: Option<&str>,
) -> Result<bool, Error> {
    let (state, step) = match (next, claim.undoing) {
        (Next::Step(step), false) => ("running", step),
        (Next::Step(step) | Next::Undo(step), _) => ("undoing", step),
        (Next::End, false) => ("done", claim.step.as_str()),
        (Next::End, true) => ("undone", claim.step.as_str()),
    };
    let advanced = sqlx::query(held!(
        "step = $5, state = $6, data = $7, step_since = now(), run_at = now(), failures = 0, waits_on = null,
         last_error = coalesce($8, last_error), finished_at = case when $6 in ('done', 'undone') then now() end"
    ))
    .bind(claim.id.uuid())
    .bind(&claim.step)
    .bind(claim.attempt)
    .bind(claim.epoch)
    .bind(step)
    .bind(state)
    .bind(&claim.data)
    .bind(problem)
    .execute(tx.executor())
    .await?;
    Ok(advanced.rows_affected() == 1)
}

/// The step waits for something; looked at again after the pause. False as in [`advance`].
pub async fn wait(
    tx: &mut SystemTx,
    claim: &Claim,
    on: &str,
    pause: Duration,
) -> Result<bool, Error> {
    let kept = sqlx::query(held!(
        "waits_on = $5, data = $6, failures = 0, last_error = null, run_at = now() + make_interval(secs => $7)"
    ))
    .bind(claim.id.uuid())
    .bind(&claim.step)
    .bind(claim.attempt)
    .bind(claim.epoch)
    .bind(on)
    .bind(&claim.data)
    .bind(pause.as_secs_f64())
    .execute(tx.executor())
    .await?;
    Ok(kept.rows_affected() == 1)
}

/// The step failed and is tried again after the pause. False as in [`advance`].
pub async fn fail(
    tx: &mut SystemTx,
    claim: &Claim,
    error: &str,
    pause: Duration,
) -> Result<bool, Error> {
    let kept = sqlx::query(held!(
        "last_error = $5, failures = failures + 1, run_at = now() + make_interval(secs => $6)"
    ))
    .bind(claim.id.uuid())
    .bind(&claim.step)
    .bind(claim.attempt)
    .bind(claim.epoch)
    .bind(error)
    .bind(pause.as_secs_f64())
    .execute(tx.executor())
    .await?;
    Ok(kept.rows_affected() == 1)
}
