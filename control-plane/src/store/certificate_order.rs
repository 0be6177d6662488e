//! Rows of `certificate_order`: how far each order for a certificate is. Every claim and every step raises the row's
//! version, so that of two replicas at one order only one gets further.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;

use super::{
    Error, feed, query,
    route::Positions,
    row::Columns as _,
    tx::{Access as _, SystemTx},
};
use crate::{
    acme::order::{Challenge, Order, Placed, Problem, Step},
    secrets::Sealed,
};

/// Wants orders for all hostnames that lack a certificate, or whose certificate is to be renewed. Those below the
/// platform's domain share one.
///
/// # Errors
/// When the database can't be reached.
pub async fn open(tx: &mut SystemTx, platform_domain: &str, limit: i64) -> Result<u64, Error> {
    let opened = sqlx::query(
        "insert into certificate_order (domain_id, organization_id)
         select d.id, d.organization_id from domain d
         left join domain_certificate c on c.domain_id = d.id
         where d.kind = 'custom' and d.verified_at is not null and d.tls = 'automatic'
           and d.hostname not like '%.' || $2
           and (c.domain_id is null or c.renew_at <= now() or c.issuer = 'internal')
           and not exists (select 1 from certificate_order o where o.domain_id = d.id)
         order by d.id limit $1
         on conflict do nothing",
    )
    .bind(limit)
    .bind(platform_domain)
    .execute(tx.executor())
    .await?;
    Ok(opened.rows_affected())
}

/// Closes orders that nobody wants any more: the hostname is another organization's, has another kind of certificate, or
/// there is no authority (`alone`).
///
/// # Errors
/// When the database can't be reached.
pub async fn close_unwanted(tx: &mut SystemTx, alone: bool) -> Result<u64, Error> {
    let closed = sqlx::query(
        "delete from certificate_order o using domain d
         where d.id = o.domain_id and ($1 or d.verified_at is null or d.tls <> 'automatic')",
    )
    .bind(alone)
    .execute(tx.executor())
    .await?;
    Ok(closed.rows_affected())
}

/// Takes some of those that are due, for as long as `hold`: first what is under way, then what a certificate ends soon
/// without, what has none, and the other renewals; of each organization in its turn. A row that can't be read keeps no
/// other from its turn.
///
/// # Errors
/// When the database can't be reached.
pub async fn claim(
    tx: &mut SystemTx,
    hold: Duration,
    limit: i64,
) -> Result<Vec<Result<Order, Error>>, Error> {
    let rows = sqlx::query(
        "with turn as (
            select o.domain_id, o.step = 'waiting' as waits, o.due_at,
                case when c.not_after < now() + least(interval '7 days', (c.not_after - c.not_before) / 6) then 0
                    when c.domain_id is null then 1 else 2 end as rank,
                row_number() over (partition by o.organization_id order by o.due_at) as number
            from certificate_order o left join domain_certificate c on c.domain_id = o.domain_id
            where o.due_at <= now()
         ), due as (
            select o.domain_id from certificate_order o join turn on turn.domain_id = o.domain_id
            where o.due_at <= now() order by turn.waits, turn.rank, turn.number, turn.due_at
            limit $1 for update of o skip locked)
         update certificate_order o set version = o.version + 1, due_at = now() + make_interval(secs => $2)
         from due, domain d left join domain_certificate c on c.domain_id = d.id
         where o.domain_id = due.domain_id and d.id = o.domain_id
         returning o.domain_id, o.organization_id, o.version, o.step, o.step_at, o.failures, o.authority, o.url,
            o.token, o.key_authorization, o.key_sealed, o.key_wrapped, d.hostname, now() as now,
            c.domain_id is not null as is_renewal,
            case when c.issuer = 'acme' then c.authority end as renews_authority,
            case when c.issuer = 'acme' then c.chain_pem end as renews_chain",
    )
    .bind(limit)
    .bind(hold.as_secs_f64())
    .fetch_all(tx.executor())
    .await?;
    Ok(rows.iter().map(order).collect())
}

fn order(row: &PgRow) -> Result<Order, Error> {
    let now: DateTime<Utc> = row.value("now")?;
    let since: DateTime<Utc> = row.value("step_at")?;
    let authority: Option<String> = row.value("renews_authority")?;
    let chain: Option<String> = row.value("renews_chain")?;
    let failures: i32 = row.value("failures")?;
    Ok(Order {
        domain: row.id("domain_id")?,
        organization: row.id("organization_id")?,
        hostname: row.value("hostname")?,
        version: row.value("version")?,
        failures: failures.unsigned_abs(),
        at_step_for: (now - since).to_std().unwrap_or_default(),
        is_renewal: row.value("is_renewal")?,
        renews: authority.zip(chain),
        step: step(row)?,
    })
}

fn step(row: &PgRow) -> Result<Step, Error> {
    let word: String = row.value("step")?;
    if word == "waiting" {
        return Ok(Step::Waiting);
    }
    let placed = Placed {
        authority: text(row, "authority")?,
        url: text(row, "url")?,
        challenge: challenge(row)?,
    };
    match word.as_str() {
        "published" => Ok(Step::Published(placed)),
        "validating" => Ok(Step::Validating(placed)),
        "finalizing" => {
            let key: (Option<Vec<u8>>, Option<Vec<u8>>) =
                (row.value("key_sealed")?, row.value("key_wrapped")?);
            let (Some(ciphertext), Some(wrapped_key)) = key else {
                return Err(Error::corrupt("certificate order", "it has no key"));
            };
            let key = Sealed {
                ciphertext,
                wrapped_key,
            };
            Ok(Step::Finalizing(placed, key))
        }
        other => Err(Error::corrupt("step of a certificate order", other)),
    }
}

fn challenge(row: &PgRow) -> Result<Option<Challenge>, Error> {
    let token: Option<String> = row.value("token")?;
    let key_authorization: Option<String> = row.value("key_authorization")?;
    let challenge = |(token, key_authorization)| Challenge {
        token,
        key_authorization,
    };
    Ok(token.zip(key_authorization).map(challenge))
}

fn text(row: &PgRow, column: &'static str) -> Result<String, Error> {
    let text: Option<String> = row.value(column)?;
    text.ok_or_else(|| Error::corrupt("certificate order", format!("it has no {column}")))
}

/// It is at this step now, and due again after `wait`. False when somebody else has brought it on since it was claimed.
///
/// # Errors
/// When the database can't be reached.
pub async fn advance(
    tx: &mut SystemTx,
    order: &Order,
    step: &Step,
    wait: Duration,
) -> Result<bool, Error> {
    let (placed, key) = (step.placed(), step.key());
    let challenge = placed.and_then(|placed| placed.challenge.as_ref());
    let query = sqlx::query(
        "update certificate_order set version = version + 1, step = $3,
            step_at = case when step = $3 then step_at else now() end,
            due_at = now() + make_interval(secs => $4), authority = $5, url = $6, token = $7,
            key_authorization = $8, key_sealed = $9, key_wrapped = $10
         where domain_id = $1 and version = $2",
    )
    .bind(order.domain.uuid())
    .bind(order.version)
    .bind(step.word())
    .bind(wait.as_secs_f64())
    .bind(placed.map(|placed| &placed.authority))
    .bind(placed.map(|placed| &placed.url))
    .bind(challenge.map(|challenge| &challenge.token))
    .bind(challenge.map(|challenge| &challenge.key_authorization))
    .bind(key.map(|key| &key.ciphertext))
    .bind(key.map(|key| &key.wrapped_key));
    query::changed(tx, query).await
}

/// It begins anew after `wait`, for this reason. False when somebody else has brought it on since it was claimed.
///
/// # Errors
/// When the database can't be reached.
pub async fn fail(
    tx: &mut SystemTx,
    order: &Order,
    problem: &Problem,
    wait: Duration,
) -> Result<bool, Error> {
    let query = sqlx::query(
        "update certificate_order set version = version + 1, step = 'waiting', step_at = now(),
            due_at = now() + make_interval(secs => $3), failures = failures + 1,
            problem_code = $4, problem_message = $5, authority = null, url = null, token = null,
            key_authorization = null, key_sealed = null, key_wrapped = null
         where domain_id = $1 and version = $2",
    )
    .bind(order.domain.uuid())
    .bind(order.version)
    .bind(wait.as_secs_f64())
    .bind(problem.code.word())
    .bind(&problem.message);
    query::changed(tx, query).await
}

/// Its certificate has come. False when somebody else has brought it on since it was claimed.
///
/// # Errors
/// When the database can't be reached.
pub async fn close(tx: &mut SystemTx, order: &Order) -> Result<bool, Error> {
    let query = sqlx::query("delete from certificate_order where domain_id = $1 and version = $2")
        .bind(order.domain.uuid())
        .bind(order.version);
    query::changed(tx, query).await
}

/// What edges shall answer certificate authorities: by hostname, token, and key authorization.
///
/// # Errors
/// When the database can't be reached.
pub async fn challenges(tx: &mut SystemTx) -> Result<Vec<(String, Challenge)>, Error> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "select d.hostname, o.token, o.key_authorization from certificate_order o
         join domain d on d.id = o.domain_id
         where o.step <> 'waiting' and o.token is not null and o.key_authorization is not null
           and d.verified_at is not null
         order by d.hostname",
    )
    .fetch_all(tx.executor())
    .await?;
    let challenge = |(hostname, token, key_authorization)| {
        let challenge = Challenge {
            token,
            key_authorization,
        };
        (hostname, challenge)
    };
    Ok(rows.into_iter().map(challenge).collect())
}

/// From which position on each ring's routes have this very challenge; nothing while they don't.
///
/// # Errors
/// When the database can't be reached.
pub async fn published(
    tx: &mut SystemTx,
    hostname: &str,
    challenge: &Challenge,
) -> Result<Positions, Error> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select item.feed, p.epoch, item.generation from platform p cross join feed_item item
         where item.feed like 'routes/global%' and item.id = $1
           and (item.json::jsonb) ->> 'token' = $2",
    )
    .bind(format!("challenge/{hostname}"))
    .bind(&challenge.token)
    .fetch_all(tx.executor())
    .await?;
    feed::positions_of(rows)
}
