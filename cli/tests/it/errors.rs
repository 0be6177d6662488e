//! Exit codes and messages that scripts and people rely on.

use axum::http::Method;
use serde_json::json;

use crate::support::{FakeApi, User, finish, id, ok, page, problem};

#[tokio::test]
async fn exit_codes_say_what_kind_of_failure_it_was() {
    for (status, code) in [(401, 3), (403, 4), (404, 5), (409, 1), (500, 1)] {
        let api = FakeApi::start(move |_| problem(status, "some_code", "It says why.")).await;
        let ran = User::new().run(&api, &["whoami"]).await;
        assert_eq!(ran.code, code, "{status}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("It says why.") && ran.stderr.contains("req_1"),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "");
    }
}

#[tokio::test]
async fn usage_errors_exit_2_without_a_request() {
    let api = FakeApi::start(|_| ok(&json!({}))).await;
    let user = User::new();
    for arguments in [
        &["scale"][..],
        &["scale", "eu-west=x"],
        &["nonsense"],
        &["logs", "-S", "soon"],
    ] {
        assert_eq!(user.run(&api, arguments).await.code, 2, "{arguments:?}");
    }
    assert!(api.asked().is_empty());
}

#[tokio::test]
async fn programs_get_errors_as_json() {
    let api = FakeApi::start(|_| problem(403, "forbidden", "Not yours.")).await;
    let ran = User::new().run(&api, &["--json", "whoami"]).await;
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(error["error"]["code"], "forbidden");
    assert_eq!(error["error"]["exit_code"], 4);
    assert_eq!(error["error"]["request_id"], "req_1");
}

#[tokio::test]
async fn the_first_contact_says_what_to_do() {
    let user = User::new();
    let nothing = finish(user.command(&["status"])).await;
    assert_eq!(nothing.code, 3);
    assert!(
        nothing.stderr.contains("railhead login --api"),
        "{}",
        nothing.stderr
    );

    let stranger = finish(user.command(&["status", "--api", "http://127.0.0.1:9"])).await;
    assert_eq!(stranger.code, 3);
    assert!(
        stranger
            .stderr
            .contains("not signed in to http://127.0.0.1:9"),
        "{}",
        stranger.stderr
    );

    let plain = finish(user.command(&["login", "--api", "http://railhead.example.com"])).await;
    assert_eq!(plain.code, 2);
    assert!(plain.stderr.contains("not encrypted"), "{}", plain.stderr);
}

#[tokio::test]
async fn what_answers_without_being_railhead_is_told_apart() {
    let api = FakeApi::start(|_| {
        axum::response::IntoResponse::into_response((
            axum::http::StatusCode::NOT_FOUND,
            "<html>nginx</html>",
        ))
    })
    .await;
    let ran = User::new().run(&api, &["whoami"]).await;
    assert_eq!(ran.code, 5);
    assert!(
        ran.stderr.contains("probably not a Railhead API"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_busy_platform_is_asked_again_with_the_same_key() {
    let api = FakeApi::start(|_| problem(503, "unavailable", "Busy.")).await;
    let ran = User::new()
        .run(&api, &["organization", "new", "acme"])
        .await;
    assert_eq!(ran.code, 1);
    let posts = api.asked_to(Method::POST, "/v1/organizations");
    assert_eq!(posts.len(), 5, "one attempt and four retries");
    let key = posts[0].header("idempotency-key");
    assert!(
        !key.is_empty()
            && posts
                .iter()
                .all(|post| post.header("idempotency-key") == key)
    );
    let trace = &posts[0].header("traceparent")[..35];
    assert!(
        posts
            .iter()
            .all(|post| post.header("traceparent").starts_with(trace))
    );
}

#[tokio::test]
async fn nothing_is_destroyed_without_the_name_or_yes() {
    let api = FakeApi::start(|asked| match (&asked.method, asked.path.as_str()) {
        (&Method::DELETE, _) => ok(&json!(null)),
        (_, "/v1/organizations") => page(&[json!({ "id": id("org", 1), "name": "acme" })]),
        _ => page(&[
            json!({ "id": id("prj", 1), "name": "shop" }),
            json!({ "id": id("prj", 2), "name": "blog" }),
        ]),
    })
    .await;
    let user = User::new();
    let refused = user.run(&api, &["project", "delete", "shop"]).await;
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    let path = format!("/v1/projects/{}", id("prj", 1));
    assert!(api.asked_to(Method::DELETE, &path).is_empty());

    let done = user
        .run(&api, &["project", "delete", "shop", "--yes"])
        .await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(api.asked_to(Method::DELETE, &path).len(), 1);
}

#[tokio::test]
async fn what_is_unclear_is_not_guessed() {
    let api = FakeApi::start(|asked| match asked.path.as_str() {
        "/v1/organizations" => page(&[
            json!({ "id": id("org", 1), "name": "acme" }),
            json!({ "id": id("org", 2), "name": "globex" }),
        ]),
        _ => page(&[]),
    })
    .await;
    let user = User::new();
    let unclear = user.run(&api, &["list"]).await;
    assert_eq!(unclear.code, 2);
    assert!(
        unclear.stderr.contains("acme, globex"),
        "{}",
        unclear.stderr
    );
    let unknown = user.run(&api, &["list", "-o", "initech"]).await;
    assert_eq!(unknown.code, 5);
    assert!(
        unknown.stderr.contains("acme, globex"),
        "{}",
        unknown.stderr
    );
}
