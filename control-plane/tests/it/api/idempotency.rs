//! A create that is sent twice takes effect once.

use reqwest::Method;
use serde_json::{Value, json};

use super::world::{Answer, Person, World, read};

async fn create(world: &World, person: &Person, key: &str, body: Value) -> Answer {
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    let request = world.server.request(Method::POST, &path, Some(person));
    read(request.header("idempotency-key", key).json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_gives_the_same_answer_and_one_effect() {
    let world = World::new().await;
    let body = json!({ "name": "shop" });
    let first = create(&world, &world.acme.owner, "k", body.clone())
        .await
        .expect(201);
    let again = create(&world, &world.acme.owner, "k", body)
        .await
        .expect(201);
    assert_eq!(first.body, again.body);
    let events: i64 =
        sqlx::query_scalar("select count(*) from audit_event where action = 'project.create'")
            .fetch_one(world.pool())
            .await
            .unwrap();
    assert_eq!(events, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_with_another_body_is_refused() {
    let world = World::new().await;
    let owner = &world.acme.owner;
    create(&world, owner, "k", json!({ "name": "shop" }))
        .await
        .expect(201);
    let other = create(&world, owner, "k", json!({ "name": "other" }))
        .await
        .expect(422);
    assert_eq!(other.code(), "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_create_leaves_its_key_free() {
    let world = World::new().await;
    let owner = &world.acme.owner;
    create(&world, owner, "k", json!({ "name": "No" }))
        .await
        .expect(422);
    create(&world, owner, "k", json!({ "name": "yes" }))
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_two_people_are_two_keys() {
    let world = World::new().await;
    create(&world, &world.acme.owner, "k", json!({ "name": "one" }))
        .await
        .expect(201);
    create(&world, &world.acme.admin, "k", json!({ "name": "two" }))
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_is_at_work_another_with_the_same_key_is_told_to_wait() {
    let world = World::new().await;
    let actor = world.acme.owner.user.to_string();
    let mut tx = world.pool().begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0))")
        .bind(&actor)
        .bind("k")
        .execute(&mut *tx)
        .await
        .unwrap();
    let body = json!({ "name": "shop" });
    let busy = create(&world, &world.acme.owner, "k", body.clone())
        .await
        .expect(409);
    assert_eq!(busy.code(), "idempotency_key_in_use");
    tx.rollback().await.unwrap();
    create(&world, &world.acme.owner, "k", body)
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_shown_once_is_not_kept_for_a_repetition() {
    let world = World::new().await;
    let body = json!({ "organization_id": world.acme.id, "name": "ci", "role": "viewer" });
    let send = async || {
        let owner = Some(&world.acme.owner);
        let request = world.server.request(Method::POST, "/v1/api-tokens", owner);
        read(request.header("idempotency-key", "k").json(&body)).await
    };
    let token = send().await.expect(201).text("token");
    assert_eq!(send().await.expect(409).code(), "conflict");
    let kept: Option<Vec<u8>> = sqlx::query_scalar("select body from idempotency_key")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(kept, None);
    assert!(token.starts_with("rh_pat_"));
}
