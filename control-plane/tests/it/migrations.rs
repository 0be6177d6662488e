//! `control-plane migrate` goes on after one that was interrupted while it made an index, and is in nobody's way for long.

use std::pin::pin;

use control_plane::store;
use sqlx::PgPool;
use testkit::wait::until;

use crate::orchestration::platform::{DEADLINE, Platform};

/// As of an interrupted migration: it is there, valid or not, and not written down as done.
async fn interrupted(pool: &PgPool, version: i64, index: &str, valid: bool) {
    sqlx::query("delete from _sqlx_migrations where version = $1")
        .bind(version)
        .execute(pool)
        .await
        .unwrap();
    mark(pool, index, valid).await;
}

async fn mark(pool: &PgPool, index: &str, valid: bool) {
    let mark = "update pg_index set indisvalid = $2 where indexrelid = to_regclass($1)";
    let marked = sqlx::query(mark)
        .bind(index)
        .bind(valid)
        .execute(pool)
        .await;
    assert_eq!(marked.unwrap().rows_affected(), 1, "there is no {index}");
}

async fn is_valid(pool: &PgPool, index: &str) -> bool {
    sqlx::query_scalar("select indisvalid from pg_index where indexrelid = to_regclass($1)")
        .bind(index)
        .fetch_one(pool)
        .await
        .unwrap()
}

async fn done(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from _sqlx_migrations where success")
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_an_interrupted_migration_left_is_made_anew_and_nothing_else() {
    let platform = Platform::new().await;
    let pool = &platform.pool;
    let all = done(pool).await;
    sqlx::query("create index of_an_operator on service (name)")
        .execute(pool)
        .await
        .unwrap();
    mark(pool, "of_an_operator", false).await;
    // Its server was killed, or only `migrate` itself.
    interrupted(pool, 62, "feed_item_of_build", false).await;
    interrupted(pool, 63, "instance_status_problem", true).await;

    store::migrate(&platform.config().database).await.unwrap();
    assert_eq!(done(pool).await, all);
    assert!(is_valid(pool, "feed_item_of_build").await);
    assert!(is_valid(pool, "instance_status_problem").await);
    assert!(!is_valid(pool, "of_an_operator").await, "theirs to see to");
    store::migrate(&platform.config().database).await.unwrap();
}

async fn is_waited_for(pool: &PgPool, table: &str) -> bool {
    sqlx::query_scalar(
        "select exists (select from pg_locks where relation = to_regclass($1) and not granted)",
    )
    .bind(table)
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_migration_that_waits_for_a_table_lets_others_through_and_tries_again() {
    let platform = Platform::new().await;
    let pool = &platform.pool;
    let all = done(pool).await;
    for undo in [
        "drop table ring_edge",
        "alter table ring drop column counted_at",
        "alter table rollout_edge drop column before_requests, drop column before_failed_requests,
            drop column before_unrouted_requests",
        "delete from _sqlx_migrations where version = 67",
    ] {
        sqlx::query(undo).execute(pool).await.unwrap();
    }
    // As pg_dump holds every table, for as long as it takes.
    let mut backup = pool.begin().await.unwrap();
    sqlx::query("lock table rollout_edge in access share mode")
        .execute(&mut *backup)
        .await
        .unwrap();
    let database = platform.config().database.clone();
    let mut migrating = pin!(store::migrate(&database));
    let others = async {
        until(DEADLINE, async || is_waited_for(pool, "rollout_edge").await).await;
        let mut user = pool.begin().await.unwrap();
        sqlx::query("set local statement_timeout = '20s'")
            .execute(&mut *user)
            .await
            .unwrap();
        let seen = sqlx::query_scalar("select count(*) from rollout_edge");
        let seen: Result<i64, _> = seen.fetch_one(&mut *user).await;
        assert_eq!(
            seen.unwrap(),
            0,
            "behind the migration, before the backup's end"
        );
        user.commit().await.unwrap();
    };
    tokio::select! {
        () = others => {}
        done = &mut migrating => panic!("the backup goes on: {done:?}"),
    }
    backup.commit().await.unwrap();
    migrating.await.unwrap();
    assert_eq!(done(pool).await, all);
}
