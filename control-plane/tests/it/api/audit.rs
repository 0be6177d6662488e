//! Every mutating route leaves exactly one audit event, and none commits without it.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::PgPool;

use super::{
    objects::{Objects, send},
    operations::{self, Access, Operation},
    world::{Person, World},
};

async fn events(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from audit_event")
        .fetch_one(world.pool())
        .await
        .unwrap()
}

/// Somebody who may do it.
fn actor<'a>(world: &'a World, operation: &Operation) -> &'a Person {
    match operation.access() {
        Access::Operator => &world.operator,
        _ => &world.acme.owner,
    }
}

/// Mutating operations that a token can do with a fresh set of objects.
fn mutations() -> impl Iterator<Item = Operation> {
    operations::all().into_iter().filter(|operation| {
        // Signing in and out has tests of its own (sessions.rs); an organization with projects stays.
        let elsewhere = ["session.create", "session.delete", "organization.delete"];
        operation.mutates() && !elsewhere.contains(&operation.id.as_str())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_leaves_exactly_one_event_that_names_it() {
    let world = World::new().await;
    for (number, operation) in mutations().enumerate() {
        let objects = Objects::make(&world, &world.acme, &format!("p{number}")).await;
        let path = objects.fill(&operation.path);
        let before = events(&world).await;
        let actor = Some(actor(&world, &operation));
        let answer = send(&world, &operation, &path, actor, &world.acme).await;
        assert!(
            answer.status.is_success(),
            "{}: {}",
            operation.id,
            answer.body
        );
        assert_eq!(events(&world).await, before + 1, "{}", operation.id);
        let (action, outcome, request_id): (String, String, String) = sqlx::query_as(
            "select action, outcome, request_id from audit_event order by id desc limit 1",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        assert_eq!(
            (action.as_str(), outcome.as_str()),
            (operation.id.as_str(), "success")
        );
        let told = answer.headers["x-request-id"].to_str().unwrap();
        assert_eq!(request_id, told, "{}", operation.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_write_audit_events_no_change_is_kept() {
    let world = World::new().await;
    let mut all = Vec::new();
    for (number, operation) in mutations().enumerate() {
        let objects = Objects::make(&world, &world.acme, &format!("p{number}")).await;
        all.push((operation, objects));
    }
    sqlx::query("revoke insert on audit_event from railhead_app, railhead_system")
        .execute(world.pool())
        .await
        .unwrap();
    let before = content(world.pool()).await;
    for (operation, objects) in all {
        let path = objects.fill(&operation.path);
        let actor = Some(actor(&world, &operation));
        let answer = send(&world, &operation, &path, actor, &world.acme).await;
        assert!(
            answer.status.is_server_error(),
            "{}: {}",
            operation.id,
            answer.body
        );
        let after = content(world.pool()).await;
        assert_eq!(before, after, "{} was kept", operation.id);
    }
}

/// A digest of every table's rows. When a token was last used is no change of intent.
async fn content(pool: &PgPool) -> BTreeMap<String, String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut content = BTreeMap::new();
    for table in tables {
        let statement = format!(
            r#"select coalesce(md5(string_agg(r, '' order by r)), '')
               from (select (to_jsonb(t) - 'last_used_at')::text as r from "{table}" t) rows"#
        );
        let digest = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_one(pool)
            .await
            .unwrap();
        content.insert(table, digest);
    }
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_or_fails_is_written_down_and_beyond_ten_a_minute_counted() {
    let world = World::new().await;
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    for _ in 0..25 {
        let answer = world
            .server
            .post(&world.acme.viewer, &path, json!({ "name": "x" }))
            .await;
        answer.expect(403);
    }
    let counted = async || -> (i64, i64) {
        sqlx::query_as(
            "select count(*), coalesce(sum(occurrences), 0) from audit_event
             where action = 'project.create' and outcome = 'denied' and error_code = 'forbidden'",
        )
        .fetch_one(world.pool())
        .await
        .unwrap()
    };
    assert_eq!(counted().await, (10, 10));
    world.server.state.recorder.flush(true).await.unwrap();
    assert_eq!(counted().await, (11, 25));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_can_be_read_by_administrators_and_changed_by_nobody() {
    let world = World::new().await;
    Objects::make(&world, &world.acme, "shop").await;
    let path = format!("/v1/organizations/{}/audit-events?limit=3", world.acme.id);
    let page = world.server.get(&world.acme.admin, &path).await.expect(200);
    assert_eq!(page.body["items"].as_array().unwrap().len(), 3);
    assert!(page.body["next_cursor"].is_string());
    for (role, url) in [
        (
            "railhead_app",
            world.platform.database.url_as("railhead_app"),
        ),
        (
            "railhead_system",
            world.platform.database.url_as("railhead_system"),
        ),
    ] {
        let pool = PgPool::connect(&url).await.unwrap();
        for statement in [
            "update audit_event set action = 'x'",
            "delete from audit_event",
            "truncate audit_event",
        ] {
            let refused = sqlx::query(statement)
                .execute(&pool)
                .await
                .unwrap_err()
                .to_string();
            assert!(
                refused.contains("permission denied"),
                "{role}: {statement}: {refused}"
            );
        }
    }
}
