//! What somebody tries who wishes another tenant, or the platform, no good.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::{StreamExt as _, future::join_all};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::wait::until;

use super::{
    objects::Objects,
    world::{Person, World, read},
};

const DEADLINE: Duration = Duration::from_secs(30);

async fn stream(world: &World, person: &Person) -> reqwest::Response {
    let path = format!("/v1/organizations/{}/events", world.acme.id);
    let request = world.server.request(Method::GET, &path, Some(person));
    request.send().await.unwrap()
}

/// A token of the acme owner's, made with the owner's own.
async fn made_token(world: &World, body: Value) -> (String, Person, Value) {
    let owner = &world.acme.owner;
    let answer = world.server.post(owner, "/v1/api-tokens", body).await;
    let answer = answer.expect(201);
    let person = Person {
        user: owner.user,
        token: answer.text("token"),
    };
    (answer.text("id"), person, answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_all_the_streams() {
    let world = World::new().await;
    let mut open = Vec::new();
    let refused = loop {
        let answer = stream(&world, &world.acme.viewer).await;
        if answer.status() != 200 {
            break answer;
        }
        open.push(answer);
        assert!(open.len() < 100, "no limit");
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    let others = stream(&world, &world.acme.owner).await;
    assert_eq!(others.status(), 200, "others are not affected");
    open.pop();
    until(DEADLINE, async || {
        stream(&world, &world.acme.viewer).await.status() == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_that_it_was_opened_with() {
    let world = World::new().await;
    let body = json!({ "organization_id": world.acme.id, "name": "ci", "role": "viewer" });
    let (id, holder, _) = made_token(&world, body).await;
    let mut events = stream(&world, &holder).await.bytes_stream();
    let path = format!("/v1/api-tokens/{id}");
    let owner = &world.acme.owner;
    world.server.delete(owner, &path).await.expect(204);
    let end = async { while events.next().await.is_some_and(|part| part.is_ok()) {} };
    tokio::time::timeout(DEADLINE, end)
        .await
        .expect("the stream goes on for one who was put out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_can_not_outlive_the_one_that_made_it() {
    let world = World::new().await;
    let body = json!({
        "organization_id": world.acme.id, "name": "ci", "role": "viewer", "expires_in_days": 366,
    });
    // The owner's own token ends tomorrow.
    let (parent, holder, made) = made_token(&world, body.clone()).await;
    let ends: chrono::DateTime<chrono::Utc> = made["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(ends <= chrono::Utc::now() + chrono::Days::new(1), "{ends}");
    let answer = world.server.post(&holder, "/v1/api-tokens", body).await;
    let child = Person {
        user: holder.user,
        token: answer.expect(201).text("token"),
    };
    world.server.get(&child, "/v1/me").await.expect(200);
    let path = format!("/v1/api-tokens/{parent}");
    let owner = &world.acme.owner;
    world.server.delete(owner, &path).await.expect(204);
    for gone in [&holder, &child] {
        world.server.get(gone, "/v1/me").await.expect(401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_others_are_of_no_use_in_bodies_and_queries() {
    let world = World::new().await;
    let theirs = Objects::make(&world, &world.acme, "shop").await.0;
    let mine = Objects::make(&world, &world.mallory, "den").await.0;
    let (server, mallory) = (&world.server, &world.mallory.owner);
    let archives = format!("/v1/services/{}/archives", theirs["service_id"]);
    let gzip = [0x1f, 0x8b, 0, 0];
    let upload = server.request(Method::POST, &archives, Some(&world.acme.owner));
    let archive = read(upload.body(gzip.to_vec()))
        .await
        .expect(201)
        .text("id");

    let deployments = format!("/v1/services/{}/deployments", mine["service_id"]);
    for (source, status) in [
        (json!({ "from": "archive", "archive_id": archive }), 404),
        (
            json!({ "from": "release", "release_id": theirs["release_id"] }),
            404,
        ),
    ] {
        let body = json!({ "source": source });
        server
            .post(mallory, &deployments, body)
            .await
            .expect(status);
    }
    let registry = &server.state.config.registry.host;
    let image = format!(
        "{registry}/{}/{}@sha256:{}",
        world.acme.id,
        theirs["service_id"],
        "0".repeat(64)
    );
    let body = json!({ "source": { "from": "image", "image": image } });
    server.post(mallory, &deployments, body).await.expect(422);

    let logs = format!(
        "/v1/services/{}/logs?deployment_id={}",
        mine["service_id"], theirs["deployment_id"]
    );
    let answer = server.get(mallory, &logs).await.expect(200);
    assert_eq!(answer.body, json!(""), "no line of another's deployment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_opens_no_door() {
    let world = World::new().await;
    let theirs = Objects::make(&world, &world.acme, "shop").await.0;
    let mine = Objects::make(&world, &world.mallory, "den").await.0;
    let project: domain::id::ProjectId = theirs["project_id"].parse().unwrap();
    let path = format!("/v1/organizations/{}/projects", world.mallory.id);
    for bytes in [[0; 16], *project.uuid().as_bytes(), [255; 16]] {
        let cursor = URL_SAFE_NO_PAD.encode(bytes);
        let path = format!("{path}?cursor={cursor}&limit=200");
        let page = world.server.get(&world.mallory.owner, &path).await;
        for item in page.expect(200).body["items"].as_array().unwrap() {
            assert_eq!(item["id"], mine["project_id"].as_str());
        }
    }
    for cursor in ["'%20or%201=1", "AAAA", "..%2f..", "%00"] {
        let path = format!("{path}?cursor={cursor}");
        let answer = world.server.get(&world.mallory.owner, &path).await;
        assert_eq!(answer.expect(400).code(), "malformed_query");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_neither_deeper_nor_longer_than_it_may_be() {
    let world = World::new().await;
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    let owner = &world.acme.owner;
    let send = async |body: String| {
        let request = world.server.request(Method::POST, &path, Some(owner));
        let request = request.header("content-type", "application/json");
        read(request.body(body)).await
    };
    for open in ["[", r#"{"name":"#] {
        let answer = send(open.repeat(100_000)).await;
        assert!(answer.status.is_client_error(), "{}", answer.body);
    }
    let long = format!(r#"{{"name":"{}"}}"#, "a".repeat(2 << 20));
    assert_eq!(send(long).await.expect(413).code(), "body_too_large");
    let many = world.server.request(Method::GET, &path, Some(owner));
    let many = (0..2_000).fold(many, |request, n| request.header(format!("x-{n}"), "x"));
    // Refused, or the connection is ended: never answered as if nothing were wrong.
    assert!(
        many.send()
            .await
            .map_or(true, |answer| !answer.status().is_success())
    );
    world.server.get(owner, &path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_of_sign_ins_is_refused_without_work_and_others_go_on() {
    let world = World::with("[limits]\nlogins_per_minute = 1000").await;
    let body = json!({ "email": "eve@example.test", "password": "x".repeat(1_000) });
    let attempts = (0..30).map(|_| {
        let request = world.server.request(Method::POST, "/v1/sessions", None);
        read(request.json(&body))
    });
    let (answers, me) = tokio::join!(
        join_all(attempts),
        world.server.get(&world.acme.owner, "/v1/me")
    );
    me.expect(200);
    let busy = answers.iter().filter(|answer| answer.status == 429);
    assert!(
        busy.clone()
            .all(|answer| answer.headers.contains_key("retry-after"))
    );
    let refused = answers.iter().filter(|answer| answer.status == 401);
    assert_eq!(busy.clone().count() + refused.count(), answers.len());
    assert!(busy.count() > 0, "every one of them was hashed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_name_is_one_line() {
    let world = World::new().await;
    let path = format!("/v1/organizations/{}/users", world.acme.id);
    for name in ["Eve\nroot", "Eve\u{1b}[2J", "Eve\u{0}"] {
        let body = json!({ "email": "eve@example.test", "name": name, "role": "viewer" });
        let answer = world.server.post(&world.acme.admin, &path, body).await;
        assert_eq!(answer.expect(422).code(), "invalid_field", "{name:?}");
    }
}
