//! Deploying from git and images, going back, and the folder's link.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    support::{Asked, FakeApi, User, finish, id, ok, page},
    up::{deployment, service},
};

fn numbered(number: u32, state: &str, release: u32) -> Value {
    let mut deployment = deployment(state, &[state], None);
    deployment["id"] = json!(id("dep", number));
    deployment["number"] = json!(number);
    deployment["release_id"] = json!(id("rel", release));
    deployment
}

fn platform(asked: &Asked) -> axum::response::Response {
    let mut web = service();
    web["current_deployment_id"] = json!(id("dep", 3));
    web["spec"] = json!({ "source": { "repo": "https://git.example.com/a.git", "root": "/" } });
    match (
        asked.method.as_str(),
        asked.path.rsplit('/').next().unwrap(),
    ) {
        ("POST", "deployments") => ok(&numbered(5, "queued", 1)),
        ("GET", "deployments") => page(&[
            numbered(4, "failed", 4),
            numbered(3, "live", 3),
            numbered(2, "live", 3),
            numbered(1, "live", 1),
        ]),
        ("PATCH", _) => {
            web["spec"] = asked.json()["spec"].clone();
            ok(&web)
        }
        ("GET", "organizations") => page(&[json!({ "id": id("org", 1), "name": "acme" })]),
        ("GET", "projects") => page(&[json!({ "id": id("prj", 1), "name": "shop" })]),
        ("GET", "environments") => page(&[
            json!({ "id": id("env", 1), "name": "production" }),
            json!({ "id": id("env", 2), "name": "staging" }),
        ]),
        ("GET", "services") if asked.path.contains(&id("env", 2)) => {
            page(&[json!({ "id": id("svc", 2), "name": "web" })])
        }
        ("GET", "services") => page(&[json!({ "id": id("svc", 1), "name": "web" })]),
        _ => ok(&web),
    }
}

async fn deployed(arguments: &[&str]) -> (FakeApi, Value) {
    let api = FakeApi::start(platform).await;
    let service = id("svc", 1);
    let arguments = [arguments, &["-s", &service, "--detach"]].concat();
    let ran = User::new().run(&api, &arguments).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let path = format!("/v1/services/{service}/deployments");
    let source = api.asked_to(Method::POST, &path)[0].json()["source"].clone();
    (api, source)
}

#[tokio::test]
async fn deploy_takes_the_configured_repository_at_a_ref() {
    let (api, source) = deployed(&["deploy", "--ref", "v1.2"]).await;
    assert_eq!(source, json!({ "from": "git", "reference": "v1.2" }));
    assert!(
        api.asked()
            .iter()
            .all(|asked| asked.method != Method::PATCH)
    );
}

#[tokio::test]
async fn a_new_source_is_kept_before_it_is_deployed() {
    let (api, source) = deployed(&["deploy", "--image", "registry.example.com/a:1"]).await;
    assert_eq!(source, json!({ "from": "image" }));
    let path = format!("/v1/services/{}", id("svc", 1));
    let patches = api.asked_to(Method::PATCH, &path);
    assert_eq!(
        patches[0].json()["spec"]["source"]["image"],
        "registry.example.com/a:1"
    );
    assert!(!patches[0].header("if-match").is_empty());
}

#[tokio::test]
async fn rollback_goes_to_the_last_other_release_that_was_live() {
    let (_, source) = deployed(&["rollback"]).await;
    assert_eq!(
        source,
        json!({ "from": "release", "release_id": id("rel", 1) })
    );
    let (_, source) = deployed(&["rollback", "3"]).await;
    assert_eq!(
        source,
        json!({ "from": "release", "release_id": id("rel", 3) })
    );
}

#[tokio::test]
async fn redeploy_takes_what_serves() {
    assert_eq!(
        deployed(&["redeploy"]).await.1,
        json!({ "from": "current" })
    );
}

#[tokio::test]
async fn a_linked_folder_needs_no_options_and_e_means_the_namesake() {
    let api = FakeApi::start(platform).await;
    let user = User::new();
    let linked = user.run(&api, &["link"]).await;
    assert_eq!(linked.code, 0, "{}", linked.stderr);
    assert!(
        linked
            .stdout
            .contains("project shop of acme, environment production, service web"),
        "{}",
        linked.stdout
    );
    assert_eq!(
        std::fs::read_to_string(user.folder.path().join(".railhead/.gitignore")).unwrap(),
        "*\n"
    );

    let ran = user.run(&api, &["redeploy", "--detach"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let posted = |number| {
        api.asked_to(
            Method::POST,
            &format!("/v1/services/{}/deployments", id("svc", number)),
        )
        .len()
    };
    assert_eq!((posted(1), posted(2)), (1, 0));

    user.run(&api, &["redeploy", "--detach", "-e", "staging"])
        .await;
    assert_eq!((posted(1), posted(2)), (1, 1));

    let unlinked = user.run(&api, &["unlink"]).await;
    assert_eq!(unlinked.code, 0);
    assert!(!user.folder.path().join(".railhead").exists());
}

#[tokio::test]
async fn a_folders_link_can_not_take_the_token_elsewhere() {
    let (own, foreign) = (
        FakeApi::start(platform).await,
        FakeApi::start(platform).await,
    );
    let user = User::new();
    user.run(&foreign, &["link"]).await;
    let before = foreign.asked().len();

    let mut in_ci = user.command(&["redeploy", "--detach"]);
    in_ci.env("RAILHEAD_TOKEN", "secret");
    let ran = finish(in_ci).await;
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains(&format!("RAILHEAD_API={}", foreign.url)),
        "{}",
        ran.stderr
    );

    let named = user.run(&own, &["redeploy", "--detach"]).await;
    assert_eq!(named.code, 0, "{}", named.stderr);
    assert_eq!(foreign.asked().len(), before);
}
