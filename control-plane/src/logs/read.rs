//! Reads lines: the newest of a service, and then what arrives.

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use api::log::{LogLine, LogRecord, LogStream};
use domain::id::{BuildId, InstanceId};

use super::{Cursor, Error, Kind, Page, Query};

/// Most lines of one step of following: more than one batch of a node's has.
const FOLLOW_MAX: i64 = 2_000;
/// Most text of one page; beyond it the newest lines are kept.
const PAGE_BYTES_MAX: i64 = 16 << 20;

const COLUMNS: &str = "source_id, kind, deployment_id, region, line, at, stream, dropped, text, \
    xid::text::bigint as xid";

/// Narrowed by tenant, service, deployment, kind and text ($1 to $5).
const CONDITION: &str = "organization_id = $1 and service_id = $2
    and ($3::uuid is null or deployment_id = $3) and kind = $4
    and ($5::text is null or position(lower($5) in lower(text)) > 0)";

/// The newest lines, as far as every transaction before them has ended.
pub async fn newest(pool: &PgPool, query: &Query) -> Result<Page, Error> {
    let mut tx = pool
        .begin_with("begin isolation level repeatable read read only")
        .await?;
    let horizon: i64 =
        sqlx::query_scalar("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            .fetch_one(&mut *tx)
            .await?;
    let statement = format!(
        "select * from (
            select *, sum(octet_length(text)) over (
                order by at desc, source_id desc, line desc) as bytes
            from (
                select {COLUMNS} from log_line
                where {CONDITION} and ($6::timestamptz is null or at >= $6)
                  and ($7::timestamptz is null or at < $7) and xid < $8::text::xid8
                order by at desc, source_id desc, line desc limit $9
            ) newest
         ) page where bytes <= {PAGE_BYTES_MAX} order by at, source_id, line"
    );
    let rows = narrowed(&statement, query)
        .bind(query.since)
        .bind(query.until)
        .bind(horizon.to_string())
        .bind(i64::from(query.limit))
        .fetch_all(&mut *tx)
        .await?;
    let mut records = match query.kind {
        Kind::Instance if query.filter.is_none() => losses(&mut tx, query).await?,
        _ => Vec::new(),
    };
    records.extend(records_of(&rows)?);
    Ok(Page {
        records,
        cursor: Cursor(horizon),
    })
}

/// What was committed since `after`.
pub async fn since(pool: &PgPool, query: &Query, after: Cursor) -> Result<Page, Error> {
    let statement = format!(
        "select {COLUMNS}, pg_snapshot_xmin(pg_current_snapshot())::text::bigint as horizon
         from log_line
         where {CONDITION} and xid >= $6::text::xid8 and xid < pg_snapshot_xmin(pg_current_snapshot())
         order by xid, at, source_id, line limit $7"
    );
    let mut rows = narrowed(&statement, query)
        .bind(after.0.to_string())
        .bind(FOLLOW_MAX)
        .fetch_all(pool)
        .await?;
    let cursor = match rows.last() {
        None => after,
        Some(last) if rows.len() as i64 >= FOLLOW_MAX => {
            // The last transaction may have more: it comes whole with the next step.
            let last: i64 = last.try_get("xid")?;
            rows.retain(|row| row.try_get::<i64, _>("xid").is_ok_and(|xid| xid != last));
            Cursor(last)
        }
        Some(last) => Cursor(last.try_get("horizon")?),
    };
    Ok(Page {
        records: records_of(&rows)?,
        cursor,
    })
}

fn narrowed<'q>(
    statement: &str,
    query: &'q Query,
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
        .bind(query.organization.uuid())
        .bind(query.service.uuid())
        .bind(query.deployment.map(domain::id::DeploymentId::uuid))
        .bind(query.kind.as_str())
        .bind(query.filter.as_deref())
}

async fn losses(
    connection: &mut sqlx::PgConnection,
    query: &Query,
) -> Result<Vec<LogRecord>, Error> {
    let rows = sqlx::query(
        "select up_to, lines from log_loss
         where organization_id = $1 and service_id = $2
           and ($3::timestamptz is null or up_to >= $3) and ($4::timestamptz is null or up_to < $4)
         order by up_to",
    )
    .bind(query.organization.uuid())
    .bind(query.service.uuid())
    .bind(query.since)
    .bind(query.until)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let lines: i64 = row.try_get("lines")?;
            Ok(gap(None, row.try_get("up_to")?, lines))
        })
        .collect()
}

fn gap(instance_id: Option<InstanceId>, at: DateTime<Utc>, lines: i64) -> LogRecord {
    LogRecord::Gap {
        instance_id,
        at,
        dropped: lines.unsigned_abs(),
    }
}

fn records_of(rows: &[PgRow]) -> Result<Vec<LogRecord>, Error> {
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        let line = line(row)?;
        let dropped: i64 = row.try_get("dropped")?;
        if dropped > 0 {
            records.push(gap(line.instance_id, line.at, dropped));
        }
        records.push(LogRecord::Line(line));
    }
    Ok(records)
}

fn line(row: &PgRow) -> Result<LogLine, Error> {
    let source: Uuid = row.try_get("source_id")?;
    let is_build = row.try_get::<&str, _>("kind")? == Kind::Build.as_str();
    let stream = match row.try_get("stream")? {
        "stderr" => LogStream::Stderr,
        _ => LogStream::Stdout,
    };
    Ok(LogLine {
        at: row.try_get("at")?,
        instance_id: (!is_build).then(|| InstanceId::from(source)),
        build_id: is_build.then(|| BuildId::from(source)),
        deployment_id: Some(row.try_get::<Uuid, _>("deployment_id")?.into()),
        region: row.try_get::<&str, _>("region")?.parse().ok(),
        stream,
        text: row.try_get("text")?,
    })
}
