//! Limits of rate, and the headers that tell of them.

use reqwest::Method;
use serde_json::json;

use super::world::{World, read};

const FEW: &str = "[limits]\nreads_per_minute = 3\nwrites_per_minute = 2\nlogins_per_minute = 2";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gets_its_quota_then_429_and_others_are_not_affected() {
    let world = World::with(FEW).await;
    let server = &world.server;
    for remaining in [2, 1, 0] {
        let answer = server.get(&world.acme.owner, "/v1/me").await.expect(200);
        assert_eq!(answer.headers["ratelimit-limit"], "3");
        assert_eq!(
            answer.headers["ratelimit-remaining"],
            remaining.to_string().as_str()
        );
    }
    let answer = server.get(&world.acme.owner, "/v1/me").await.expect(429);
    assert_eq!(answer.code(), "rate_limited");
    let wait: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    server.get(&world.mallory.owner, "/v1/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_have_quotas_of_their_own_and_429_leaves_no_audit_event() {
    let world = World::with(FEW).await;
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    for name in ["a", "b"] {
        world
            .server
            .post(&world.acme.owner, &path, json!({ "name": name }))
            .await
            .expect(201);
    }
    world
        .server
        .post(&world.acme.owner, &path, json!({ "name": "c" }))
        .await
        .expect(429);
    world.server.get(&world.acme.owner, &path).await.expect(200);
    let events: i64 = sqlx::query_scalar("select count(*) from audit_event")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(events, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_is_limited_per_address() {
    let world = World::with(FEW).await;
    let attempt = async || {
        let body = json!({ "email": "nobody@example.test", "password": "wrong" });
        read(
            world
                .server
                .request(Method::POST, "/v1/sessions", None)
                .json(&body),
        )
        .await
    };
    attempt().await.expect(401);
    attempt().await.expect(401);
    attempt().await.expect(429);
}
