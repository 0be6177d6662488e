//! Partitions: made when a day begins or one is full, dropped from the oldest on when the disk
//! budget is spent. Any replica may do it; an advisory lock makes it one at a time.

use chrono::NaiveDate;
use sqlx::{PgConnection, PgPool, Row};

use domain::quantity::Bytes;

use super::{Error, copy::Partition};

/// A partition is full at this part of the budget, so that little is lost when one is dropped.
const PARTS_OF_BUDGET: u64 = 8;

/// The partition that lines go to today; made when there is none.
pub async fn current(pool: &PgPool) -> Result<Partition, Error> {
    let mut connection = pool.acquire().await?;
    let today = today(&mut connection).await?;
    if let Some(newest) = newest(&mut connection).await?
        && newest.day >= today
    {
        return Ok(newest);
    }
    drop(connection);
    let mut tx = pool.begin().await?;
    lock(&mut tx).await?;
    let partition = match newest(&mut tx).await? {
        Some(newest) if newest.day >= today => newest,
        _ => make(&mut tx, today, 0).await?,
    };
    tx.commit().await?;
    Ok(partition)
}

/// Begins a new partition when the newest is full, and drops the oldest ones while all together
/// are beyond the budget. Says how many were dropped.
pub async fn keep_within(pool: &PgPool, budget: Bytes) -> Result<u64, Error> {
    let mut tx = pool.begin().await?;
    lock(&mut tx).await?;
    let mut sizes = sizes(&mut tx).await?;
    if let Some((_, newest, size)) = sizes.last()
        && *size > budget.0 / PARTS_OF_BUDGET
    {
        let today = today(&mut tx).await?;
        let (day, part) = if newest.day >= today {
            (newest.day, newest.part.saturating_add(1))
        } else {
            (today, 0)
        };
        let made = make(&mut tx, day, part).await?;
        sizes.push((name(made), made, 0));
    }
    let mut total: u64 = sizes.iter().map(|(_, _, size)| size).sum();
    let mut dropped = 0;
    // The last one takes today's lines and stays.
    let droppable = sizes.len().saturating_sub(1);
    for (name, _, size) in sizes.iter().take(droppable) {
        if total <= budget.0 {
            break;
        }
        drop_partition(&mut tx, name).await?;
        total -= size;
        dropped += 1;
    }
    tx.commit().await?;
    Ok(dropped)
}

/// By the database's clock: one replica's may be years ahead, and no partition of an earlier day follows a later one.
async fn today(connection: &mut PgConnection) -> Result<NaiveDate, Error> {
    let today = sqlx::query_scalar("select (now() at time zone 'utc')::date");
    Ok(today.fetch_one(connection).await?)
}

async fn lock(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("select pg_advisory_xact_lock(hashtext('railhead log partitions'))")
        .execute(connection)
        .await?;
    Ok(())
}

async fn newest(connection: &mut PgConnection) -> Result<Option<Partition>, Error> {
    let row =
        sqlx::query("select day, part from log_partition order by day desc, part desc limit 1")
            .fetch_optional(connection)
            .await?;
    Ok(match row {
        Some(row) => Some(Partition {
            day: row.try_get("day")?,
            part: row.try_get("part")?,
        }),
        None => None,
    })
}

/// Name, partition and bytes on disk, the oldest first.
async fn sizes(connection: &mut PgConnection) -> Result<Vec<(String, Partition, u64)>, Error> {
    let rows = sqlx::query(
        "select name, day, part, pg_total_relation_size(name::regclass) as bytes
         from log_partition order by day, part",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let bytes: i64 = row.try_get("bytes")?;
            let partition = Partition {
                day: row.try_get("day")?,
                part: row.try_get("part")?,
            };
            Ok((row.try_get("name")?, partition, bytes.unsigned_abs()))
        })
        .collect()
}

fn name(partition: Partition) -> String {
    format!(
        "log_line_{}_{}",
        partition.day.format("%Y%m%d"),
        partition.part
    )
}

async fn make(
    connection: &mut PgConnection,
    day: NaiveDate,
    part: i16,
) -> Result<Partition, Error> {
    let partition = Partition { day, part };
    let name = name(partition);
    let next = i32::from(part) + 1;
    // DDL takes no parameters; a date and two numbers need no quoting.
    let statement = format!(
        "create table {name} partition of log_line for values from ('{day}', {part}) to ('{day}', {next})"
    );
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(&mut *connection)
        .await?;
    sqlx::query("insert into log_partition (name, day, part) values ($1, $2, $3)")
        .bind(&name)
        .bind(day)
        .bind(part)
        .execute(connection)
        .await?;
    Ok(partition)
}

async fn drop_partition(connection: &mut PgConnection, name: &str) -> Result<(), Error> {
    let loss = format!(
        "insert into log_loss (organization_id, service_id, up_to, lines)
         select organization_id, service_id, max(at), count(*) + sum(dropped)
         from {name} group by organization_id, service_id"
    );
    sqlx::query(sqlx::AssertSqlSafe(loss))
        .execute(&mut *connection)
        .await?;
    sqlx::query(sqlx::AssertSqlSafe(format!("drop table {name}")))
        .execute(&mut *connection)
        .await?;
    sqlx::query("delete from log_partition where name = $1")
        .bind(name)
        .execute(connection)
        .await?;
    Ok(())
}
