//! Two servers on one database behave as one.

use reqwest::Method;
use serde_json::json;
use testkit::wait::until;

use super::world::{Person, Server, World, read};
use crate::orchestration::platform::DEADLINE;

#[tokio::test(flavor = "multi_thread")]
async fn what_one_writes_the_other_reads_and_a_repetition_at_the_other_is_recognised() {
    let world = World::new().await;
    let second = world.second_server().await;
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    let send = async |server: &Server| {
        let request = server.request(Method::POST, &path, Some(&world.acme.owner));
        let request = request.header("idempotency-key", "k");
        read(request.json(&json!({ "name": "shop" })))
            .await
            .expect(201)
    };
    let (one, other) = (send(&world.server).await, send(&second).await);
    assert_eq!(one.body, other.body);
    let project = format!("/v1/projects/{}", one.text("id"));
    second.get(&world.acme.viewer, &project).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_of_one_name_at_both_exactly_one_wins() {
    let world = World::new().await;
    let second = world.second_server().await;
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    let body = json!({ "name": "shop" });
    let attempts = (0..20).map(|number| {
        let server = if number % 2 == 0 {
            &world.server
        } else {
            &second
        };
        server.post(&world.acme.owner, &path, body.clone())
    });
    let answers = futures::future::join_all(attempts).await;
    let won = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(won, 1);
    assert!(
        answers
            .iter()
            .all(|a| a.status == 201 || a.code() == "name_taken")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_revoked_at_one_is_soon_nobody_at_the_other() {
    let world = World::new().await;
    let second = world.second_server().await;
    let body = json!({ "organization_id": world.acme.id, "name": "ci", "role": "viewer" });
    let made = world
        .server
        .post(&world.acme.owner, "/v1/api-tokens", body)
        .await
        .expect(201);
    let program = Person {
        user: world.acme.owner.user,
        token: made.text("token"),
    };
    second.get(&program, "/v1/me").await.expect(200);
    let path = format!("/v1/api-tokens/{}", made.text("id"));
    world
        .server
        .delete(&world.acme.owner, &path)
        .await
        .expect(204);
    world.server.get(&program, "/v1/me").await.expect(401);
    until(DEADLINE, async || {
        second.get(&program, "/v1/me").await.status == 401
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_one_order_whichever_server_wrote_them() {
    let world = World::new().await;
    let second = world.second_server().await;
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    let attempts = (0..20).map(|number| {
        let server = if number % 2 == 0 {
            &world.server
        } else {
            &second
        };
        server.post(
            &world.acme.owner,
            &path,
            json!({ "name": format!("p{number}") }),
        )
    });
    for answer in futures::future::join_all(attempts).await {
        answer.expect(201);
    }
    let sequences: Vec<i64> = sqlx::query_scalar(
        "select sequence from event where organization_id = $1 order by sequence",
    )
    .bind(world.acme.id.uuid())
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(sequences, (1..=40).collect::<Vec<_>>());
}
