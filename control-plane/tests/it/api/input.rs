//! Bad input: each gets a clear code, and nothing is half done.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    objects::Objects,
    world::{Answer, World, read},
};

struct Case {
    what: &'static str,
    method: Method,
    path: &'static str,
    body: Value,
    status: u16,
    code: &'static str,
}

fn post(
    what: &'static str,
    path: &'static str,
    body: Value,
    status: u16,
    code: &'static str,
) -> Case {
    Case {
        what,
        method: Method::POST,
        path,
        body,
        status,
        code,
    }
}

const PROJECTS: &str = "/v1/organizations/{organization_id}/projects";
const SERVICES: &str = "/v1/environments/{environment_id}/services";
const DEPLOYMENTS: &str = "/v1/services/{service_id}/deployments";
const DOMAINS: &str = "/v1/services/{service_id}/domains";

fn cases() -> Vec<Case> {
    let mut cases = vec![
        post(
            "unknown field",
            PROJECTS,
            json!({ "name": "a", "nmae": 1 }),
            422,
            "unknown_field",
        ),
        post("missing field", PROJECTS, json!({}), 422, "invalid_field"),
        post(
            "taken name",
            PROJECTS,
            json!({ "name": "shop" }),
            409,
            "name_taken",
        ),
        post(
            "unknown spec field",
            SERVICES,
            json!({ "name": "a", "spec": { "x": 1 } }),
            422,
            "unknown_field",
        ),
        post(
            "unknown region",
            SERVICES,
            json!({ "name": "a", "spec": { "scale": { "regions": { "mars": 1 } } } }),
            422,
            "unknown_region",
        ),
        post(
            "port 0",
            SERVICES,
            json!({ "name": "a", "spec": { "network": { "port": 0 } } }),
            422,
            "invalid_field",
        ),
        post(
            "an option for git",
            SERVICES,
            json!({ "name": "a", "spec": { "source": { "repo": "--upload-pack=id" } } }),
            422,
            "invalid_field",
        ),
        post(
            "a path upwards",
            SERVICES,
            json!({ "name": "a", "spec": { "build": { "dockerfile_path": "../../etc/passwd" } } }),
            422,
            "invalid_field",
        ),
        post(
            "what PostgreSQL can't keep",
            SERVICES,
            json!({ "name": "a", "spec": { "build": { "args": { "A": "\0" } } } }),
            422,
            "invalid_field",
        ),
        post(
            "an edge rule without a truth",
            SERVICES,
            json!({ "name": "a", "spec": { "edge": { "rules": [
                { "if": "request.path", "then": { "action": "block" } },
            ] } } }),
            422,
            "invalid_field",
        ),
        post(
            "an edge rule that frames messages",
            SERVICES,
            json!({ "name": "a", "spec": { "edge": { "rules": [
                { "if": "true", "then": { "action": "headers", "request": { "set": { "host": "x" } } } },
            ] } } }),
            422,
            "invalid_field",
        ),
        post(
            "edge rules that lock everybody out",
            SERVICES,
            json!({ "name": "a", "spec": { "edge": { "rules": [
                { "if": "request.path != '/' || true", "then": { "action": "block" } },
            ] } } }),
            409,
            "blocks_everything",
        ),
        post(
            "an option as reference",
            DEPLOYMENTS,
            json!({ "source": { "from": "git", "reference": "--help" } }),
            422,
            "invalid_field",
        ),
        post(
            "an option as image",
            DEPLOYMENTS,
            json!({ "source": { "from": "image", "image": "-v /:/x" } }),
            422,
            "invalid_field",
        ),
        post(
            "another tenant's image",
            DEPLOYMENTS,
            json!({ "source": { "from": "image", "image": "127.0.0.1:5000/org_019234567890700080000000000000aa/svc_1:1" } }),
            422,
            "invalid_field",
        ),
        post(
            "an archive of nobody",
            DEPLOYMENTS,
            json!({ "source": { "from": "archive", "archive_id": "arc_019234567890700080000000000000aa" } }),
            404,
            "not_found",
        ),
        post(
            "nothing was live",
            DEPLOYMENTS,
            json!({ "source": { "from": "current" } }),
            422,
            "source_missing",
        ),
        post(
            "unknown source",
            DEPLOYMENTS,
            json!({ "source": { "from": "ftp" } }),
            422,
            "invalid_field",
        ),
        post(
            "no hostname",
            DOMAINS,
            json!({ "hostname": "not a name" }),
            422,
            "invalid_field",
        ),
        post(
            "an address",
            DOMAINS,
            json!({ "hostname": "127.0.0.1" }),
            422,
            "invalid_field",
        ),
        post(
            "the platform's own",
            DOMAINS,
            json!({ "hostname": "api.railhead.test" }),
            422,
            "invalid_field",
        ),
        post(
            "below another's default name",
            DOMAINS,
            json!({ "hostname": "x.web-shop.railhead.test" }),
            422,
            "invalid_field",
        ),
        Case {
            what: "no environment variable's name",
            method: Method::PUT,
            path: "/v1/services/{service_id}/variables/A-B",
            body: json!({ "value": "" }),
            status: 404,
            code: "not_found",
        },
        Case {
            what: "a reference that doesn't end",
            method: Method::PUT,
            path: "/v1/services/{service_id}/variables/B",
            body: json!({ "value": "${{shared.A" }),
            status: 422,
            code: "invalid_field",
        },
        Case {
            what: "a value too long",
            method: Method::PUT,
            path: "/v1/services/{service_id}/variables/B",
            body: json!({ "value": "x".repeat(64 * 1024 + 1) }),
            status: 422,
            code: "invalid_field",
        },
        Case {
            what: "more replicas than a region may have",
            method: Method::PUT,
            path: "/v1/services/{service_id}/scale",
            body: json!({ "regions": { "us-east": 101 } }),
            status: 422,
            code: "invalid_field",
        },
    ];
    for name in [
        "", "A", "a b", "-a", "a-", "a--b", "1a", "ä", "$(id)", "a\n", "../a", "a;b",
    ] {
        cases.push(post(
            "a name that is none",
            PROJECTS,
            json!({ "name": name }),
            422,
            "invalid_field",
        ));
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_bad_input_has_its_code_and_changes_nothing() {
    let world = World::new().await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    for case in cases() {
        let path = objects.fill(case.path);
        let request = world
            .server
            .request(case.method, &path, Some(&world.acme.owner));
        let answer = read(request.json(&case.body)).await;
        let what = format!("{}: {}", case.what, answer.body);
        assert_eq!(answer.status.as_u16(), case.status, "{what}");
        assert_eq!(answer.code(), case.code, "{what}");
        assert_eq!(
            answer.headers["content-type"], "application/problem+json",
            "{what}"
        );
        assert_eq!(
            answer.text("request_id"),
            answer.headers["x-request-id"].to_str().unwrap()
        );
    }
    let made: i64 = sqlx::query_scalar("select count(*) from project where organization_id = $1")
        .bind(world.acme.id.uuid())
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(made, 1);
}

async fn raw(world: &World, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    let request = world
        .server
        .request(Method::POST, &path, Some(&world.acme.owner));
    read(request.header("content-type", content_type).body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json_or_too_large() {
    let world = World::new().await;
    let answer = raw(&world, "application/json", "{").await.expect(400);
    assert_eq!(answer.code(), "malformed_body");
    let answer = raw(&world, "text/plain", "name=x").await.expect(415);
    assert_eq!(answer.code(), "unsupported_media_type");
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(2 << 20));
    let answer = raw(&world, "application/json", large).await.expect(413);
    assert_eq!(answer.code(), "body_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_paths_and_methods_that_are_none() {
    let world = World::new().await;
    let owner = &world.acme.owner;
    let projects = format!("/v1/organizations/{}/projects", world.acme.id);
    for (path, status, code) in [
        (format!("{projects}?limit=0"), 400, "malformed_query"),
        (format!("{projects}?limit=201"), 400, "malformed_query"),
        (format!("{projects}?cursor=%00"), 400, "malformed_query"),
        (format!("{projects}?sort=name"), 400, "malformed_query"),
        ("/v1/services/svc_1".to_owned(), 404, "not_found"),
        (
            "/v1/services/prj_019234567890700080000000000000aa".to_owned(),
            404,
            "not_found",
        ),
        ("/v1/nothing".to_owned(), 404, "not_found"),
        ("/".to_owned(), 404, "not_found"),
    ] {
        let answer = world.server.get(owner, &path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (status, code),
            "{path}"
        );
    }
    let answer = world.server.delete(owner, "/v1/me").await.expect(405);
    assert_eq!(answer.code(), "method_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_must_be_gzip_and_within_its_limit() {
    let limits = "[limits]\narchive = \"2Mi\"\nwrites_per_minute = 100000";
    let world = World::with(limits).await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    let path = objects.fill("/v1/services/{service_id}/archives");
    let upload = async |body: Vec<u8>| {
        let request = world
            .server
            .request(Method::POST, &path, Some(&world.acme.developer));
        read(
            request
                .header("content-type", "application/gzip")
                .body(body),
        )
        .await
    };
    assert_eq!(
        upload(b"PK".to_vec()).await.expect(415).code(),
        "unsupported_media_type"
    );
    assert_eq!(
        upload(Vec::new()).await.expect(415).code(),
        "unsupported_media_type"
    );
    let mut content: Vec<u8> = (0..=255).cycle().take(1_500_000).collect();
    content[..2].copy_from_slice(&[0x1f, 0x8b]);
    let stored = upload(content.clone()).await.expect(201);
    assert_eq!(stored.body["size_bytes"], content.len());
    let kept: Vec<Vec<u8>> =
        sqlx::query_scalar("select content from archive_chunk order by position")
            .fetch_all(world.pool())
            .await
            .unwrap();
    assert_eq!(kept.concat(), content);
    let mut large = content.clone();
    large.extend_from_slice(&content);
    assert_eq!(upload(large).await.expect(413).code(), "body_too_large");
    let archives: i64 = sqlx::query_scalar("select count(*) from archive")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(archives, 1);
}
