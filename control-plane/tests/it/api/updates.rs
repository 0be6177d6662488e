//! Optimistic updates and pages.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use super::world::{World, read};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_read_the_same_version_one_wins() {
    let world = World::new().await;
    let owner = &world.acme.owner;
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    let project = world
        .server
        .post(owner, &path, json!({ "name": "shop" }))
        .await
        .expect(201);
    let path = format!("/v1/projects/{}", project.text("id"));
    let etag = world.server.get(owner, &path).await.headers["etag"].clone();
    let rename = async |name: &str| {
        let request = world.server.request(Method::PATCH, &path, Some(owner));
        read(
            request
                .header("if-match", etag.clone())
                .json(&json!({ "name": name })),
        )
        .await
    };
    let first = rename("first").await.expect(200);
    assert_ne!(first.headers["etag"], etag);
    assert_eq!(
        rename("second").await.expect(412).code(),
        "version_mismatch"
    );
    assert_eq!(world.server.get(owner, &path).await.text("name"), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_needs_if_match_and_a_delete_takes_it() {
    let world = World::new().await;
    let owner = &world.acme.owner;
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    let project = world
        .server
        .post(owner, &path, json!({ "name": "shop" }))
        .await
        .expect(201);
    let path = format!("/v1/projects/{}", project.text("id"));
    let request = world.server.request(Method::PATCH, &path, Some(owner));
    let answer = read(request.json(&json!({ "name": "x" })))
        .await
        .expect(428);
    assert_eq!(answer.code(), "version_required");
    let request = world.server.request(Method::DELETE, &path, Some(owner));
    let answer = read(request.header("if-match", "\"9\"")).await.expect(412);
    assert_eq!(answer.code(), "version_mismatch");
    world.server.delete(owner, &path).await.expect(204);
    world.server.get(owner, &path).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_together_are_the_whole_list() {
    let world = World::new().await;
    let owner = &world.acme.owner;
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    let mut made = BTreeSet::new();
    for number in 0..5 {
        let body = json!({ "name": format!("p{number}") });
        made.insert(
            world
                .server
                .post(owner, &path, body)
                .await
                .expect(201)
                .text("id"),
        );
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world
            .server
            .get(owner, &format!("{path}?limit=2{cursor}"))
            .await
            .expect(200);
        let items = page.body["items"].as_array().unwrap();
        assert!((1..=2).contains(&items.len()));
        seen.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_frees_its_name_and_its_hostnames_and_takes_what_is_in_it_along() {
    let world = World::new().await;
    let (server, owner) = (&world.server, &world.acme.owner);
    let projects = format!("/v1/organizations/{}/projects", world.acme.id);
    let mut hostnames = Vec::new();
    for _ in 0..2 {
        let project = server
            .post(owner, &projects, json!({ "name": "shop" }))
            .await
            .expect(201);
        let path = format!("/v1/projects/{}", project.text("id"));
        let environments = server.get(owner, &format!("{path}/environments")).await;
        let environment = environments.body["items"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let services = format!("/v1/environments/{environment}/services");
        let service = server
            .post(owner, &services, json!({ "name": "web" }))
            .await
            .expect(201);
        hostnames.push(service.body["hostnames"][0].clone());
        server.delete(owner, &path).await.expect(204);
        let gone = format!("/v1/services/{}", service.text("id"));
        server.get(owner, &gone).await.expect(404);
    }
    assert_eq!(hostnames[0], "web-shop.railhead.test");
    assert_eq!(hostnames[0], hostnames[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_the_same_names_get_two_hostnames() {
    let world = World::new().await;
    let mut hostnames = BTreeSet::new();
    for tenant in [&world.acme, &world.mallory] {
        let (server, owner) = (&world.server, &tenant.owner);
        let path = format!("/v1/organizations/{}/projects", tenant.id);
        let project = server
            .post(owner, &path, json!({ "name": "shop" }))
            .await
            .expect(201);
        let path = format!("/v1/projects/{}/environments", project.text("id"));
        let environments = server.get(owner, &path).await;
        let environment = environments.body["items"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let path = format!("/v1/environments/{environment}/services");
        let service = server
            .post(owner, &path, json!({ "name": "web" }))
            .await
            .expect(201);
        hostnames.insert(service.body["hostnames"][0].as_str().unwrap().to_owned());
    }
    assert_eq!(hostnames.len(), 2, "{hostnames:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_with_projects_stays_and_one_without_goes_with_one_audit_event() {
    let world = World::new().await;
    let (server, owner) = (&world.server, &world.acme.owner);
    let path = format!("/v1/organizations/{}", world.acme.id);
    let projects = format!("{path}/projects");
    let project = server
        .post(owner, &projects, json!({ "name": "shop" }))
        .await
        .expect(201);
    assert_eq!(
        server.delete(owner, &path).await.expect(409).code(),
        "not_empty"
    );
    let project = format!("/v1/projects/{}", project.text("id"));
    server.delete(owner, &project).await.expect(204);
    server.delete(owner, &path).await.expect(204);
    server.get(owner, &path).await.expect(404);
    let events: Vec<String> = sqlx::query_scalar(
        "select outcome from audit_event where action = 'organization.delete' order by id",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(events, ["failure", "success"]);
}
