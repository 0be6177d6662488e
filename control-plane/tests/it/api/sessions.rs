//! Signing in and out.

use reqwest::Method;
use serde_json::json;

use super::world::{Person, World, read};

const PASSWORD: &str = "correct horse battery staple";

async fn member(world: &World, email: &str) {
    let path = format!("/v1/organizations/{}/users", world.acme.id);
    let body = json!({ "email": email, "name": "Ada", "password": PASSWORD, "role": "developer" });
    world
        .server
        .post(&world.acme.admin, &path, body)
        .await
        .expect(201);
}

async fn sign_in(world: &World, email: &str, password: &str) -> super::world::Answer {
    let body = json!({ "email": email, "password": password });
    read(
        world
            .server
            .request(Method::POST, "/v1/sessions", None)
            .json(&body),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reaches_what_its_person_may_and_ends_at_once() {
    let world = World::new().await;
    member(&world, "ada@example.test").await;
    let session = sign_in(&world, "Ada@Example.test", PASSWORD)
        .await
        .expect(201);
    let ada = Person {
        user: session.body["user"]["id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap(),
        token: session.text("token"),
    };
    let me = world.server.get(&ada, "/v1/me").await.expect(200);
    assert_eq!(me.body["organizations"][0]["role"], "developer");
    world
        .server
        .delete(&ada, "/v1/sessions/current")
        .await
        .expect(204);
    world.server.get(&ada, "/v1/me").await.expect(401);
    let events: Vec<String> = sqlx::query_scalar(
        "select action from audit_event where actor_id = $1 and outcome = 'success' order by id",
    )
    .bind(ada.user.to_string())
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(events, ["session.create", "session.delete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_person_look_alike_and_are_written_down() {
    let world = World::new().await;
    member(&world, "ada@example.test").await;
    let wrong = sign_in(&world, "ada@example.test", "wrong")
        .await
        .expect(401);
    let unknown = sign_in(&world, "eve@example.test", "wrong")
        .await
        .expect(401);
    assert_eq!(wrong.code(), "invalid_credentials");
    assert_eq!(wrong.body["detail"], unknown.body["detail"]);
    let organizations: Vec<Option<uuid::Uuid>> = sqlx::query_scalar(
        "select organization_id from audit_event
         where action = 'session.create' and outcome = 'denied' order by id",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(organizations, [Some(world.acme.id.uuid()), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_passwords_nor_tokens_are_stored_as_they_are() {
    let world = World::new().await;
    member(&world, "ada@example.test").await;
    let token = sign_in(&world, "ada@example.test", PASSWORD)
        .await
        .expect(201)
        .text("token");
    let dump: String = sqlx::query_scalar(
        r#"select (select string_agg(u::text, '') from "user" u)
             || (select string_agg(s::text, '') from session s)
             || (select string_agg(a::text, '') from audit_event a)"#,
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert!(!dump.contains(PASSWORD) && !dump.contains(&token));
    assert!(dump.contains("$argon2id$v=19$m=19456,t=2,p=1$"));
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_ended_revoked_and_made_up_tokens_are_all_nobody() {
    let world = World::new().await;
    for change in [
        "update api_token set expires_at = now() - interval '1 second'",
        "update api_token set expires_at = now() + interval '1 day', revoked_at = now()",
        r#"update "user" set disabled_at = now()"#,
    ] {
        sqlx::query(change).execute(world.pool()).await.unwrap();
        world.server.state.sessions.forget();
        world
            .server
            .get(&world.acme.owner, "/v1/me")
            .await
            .expect(401);
    }
    let made_up = Person {
        user: world.acme.owner.user,
        token: format!("rh_pat_{}", "0".repeat(72)),
    };
    world.server.get(&made_up, "/v1/me").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hands_out_more_than_they_have_and_the_last_owner_stays() {
    let world = World::new().await;
    let server = &world.server;
    let users = format!("/v1/organizations/{}/users", world.acme.id);
    let body = json!({ "email": "o@example.test", "name": "O", "role": "owner" });
    server
        .post(&world.acme.admin, &users, body)
        .await
        .expect(403);
    let owner = format!("{users}/{}", world.acme.owner.user);
    server
        .patch(&world.acme.admin, &owner, json!({ "role": "viewer" }))
        .await
        .expect(403);
    server.delete(&world.acme.admin, &owner).await.expect(403);
    let answer = server.delete(&world.acme.owner, &owner).await.expect(409);
    assert_eq!(answer.code(), "last_owner");
    for (role, platform) in [("owner", false), ("viewer", true)] {
        let body = json!({
            "organization_id": world.acme.id, "name": "x", "role": role, "platform": platform,
        });
        server
            .post(&world.acme.admin, "/v1/api-tokens", body)
            .await
            .expect(403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_removed_is_out_at_once_with_all_tokens() {
    let world = World::new().await;
    let path = format!(
        "/v1/organizations/{}/users/{}",
        world.acme.id, world.acme.developer.user
    );
    world
        .server
        .delete(&world.acme.admin, &path)
        .await
        .expect(204);
    world
        .server
        .get(&world.acme.developer, "/v1/me")
        .await
        .expect(401);
}
