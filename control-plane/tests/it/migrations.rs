//! `control-plane migrate` goes on after one that was interrupted while it made an index.

use control_plane::store;
use sqlx::PgPool;

use crate::orchestration::platform::Platform;

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
