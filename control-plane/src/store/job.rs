//! The queue of background jobs. An attempt's number is its fencing token: whoever was overtaken
//! can neither end nor fail the job.

use std::time::Duration;

use domain::id::JobId;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx, Write},
};

/// A job in hand.
#[derive(Debug, Clone)]
pub struct Claim {
    pub id: JobId,
    pub kind: String,
    pub payload: Value,
    pub attempt: i32,
    attempts_max: i32,
}

/// Enqueues a job in the transaction that makes it necessary.
pub async fn insert(
    tx: &mut impl Write,
    queue: &str,
    kind: &str,
    payload: &Value,
) -> Result<JobId, Error> {
    let id = JobId::new();
    sqlx::query("insert into job (id, queue, kind, payload) values ($1, $2, $3, $4)")
        .bind(id.uuid())
        .bind(queue)
        .bind(kind)
        .bind(payload)
        .execute(tx.executor())
        .await?;
    Ok(id)
}

/// Takes the job that is due for longest, for `lifetime`; one whose holder has died counts as due. So does one that
/// was claimed, or put off, for much longer than any is: the clock was ahead then.
pub async fn claim(
    tx: &mut SystemTx,
    holder: Uuid,
    lifetime: Duration,
) -> Result<Option<Claim>, Error> {
    let row: Option<(Uuid, String, Value, i32, i32)> = sqlx::query_as(
        "update job set claimed_by = $1, claimed_until = now() + make_interval(secs => $2), attempt = attempt + 1
         where id = (select id from job where dead_at is null
                     and (run_at <= now()
                        or run_at > now() + 2 * least(900, power(2, least(attempt, 10))) * interval '1 second')
                     and (claimed_until is null
                        or claimed_until not between now() and now() + make_interval(secs => 2 * $2))
                     order by run_at limit 1 for update skip locked)
         returning id, kind, payload, attempt, attempts_max",
    )
    .bind(holder)
    .bind(lifetime.as_secs_f64())
    .fetch_optional(tx.executor())
    .await?;
    Ok(row.map(|(id, kind, payload, attempt, attempts_max)| Claim {
        id: id.into(),
        kind,
        payload,
        attempt,
        attempts_max,
    }))
}

/// It is done; false when somebody else has it meanwhile.
pub async fn complete(tx: &mut SystemTx, claim: &Claim) -> Result<bool, Error> {
    let done = sqlx::query("delete from job where id = $1 and attempt = $2")
        .bind(claim.id.uuid())
        .bind(claim.attempt)
        .execute(tx.executor())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// It failed: again later, or never when it has failed too often.
pub async fn fail(
    tx: &mut SystemTx,
    claim: &Claim,
    error: &str,
    pause: Duration,
) -> Result<bool, Error> {
    let failed = sqlx::query(
        "update job set last_error = $3, claimed_by = null, claimed_until = null,
            run_at = now() + make_interval(secs => $4), dead_at = case when $5 then now() end
         where id = $1 and attempt = $2",
    )
    .bind(claim.id.uuid())
    .bind(claim.attempt)
    .bind(error)
    .bind(pause.as_secs_f64())
    .bind(claim.attempt >= claim.attempts_max)
    .execute(tx.executor())
    .await?;
    Ok(failed.rows_affected() == 1)
}

/// The last error of each of these jobs that is not done; what was set aside is tried once more, later.
pub async fn unfinished(tx: &mut SystemTx, jobs: &[JobId]) -> Result<Vec<Option<String>>, Error> {
    let ids: Vec<Uuid> = jobs.iter().map(|id| id.uuid()).collect();
    sqlx::query(
        "update job set dead_at = null, run_at = now() + interval '15 minutes'
         where id = any($1) and dead_at is not null",
    )
    .bind(&ids)
    .execute(tx.executor())
    .await?;
    Ok(
        sqlx::query_scalar("select last_error from job where id = any($1) order by last_error")
            .bind(&ids)
            .fetch_all(tx.executor())
            .await?,
    )
}
