//! Variables: what is sealed never comes back, every look is written down, references are checked.

use serde_json::json;

use super::{objects::Objects, world::World};

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_value_never_comes_back_and_no_value_is_stored_readable() {
    let world = World::new().await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    let base = objects.fill("/v1/services/{service_id}/variables");
    let developer = &world.acme.developer;
    let set = async |name: &str, value: &str, sealed: bool| {
        let body = json!({ "value": value, "sealed": sealed });
        world
            .server
            .put(developer, &format!("{base}/{name}"), body)
            .await
            .expect(200)
    };
    assert!(
        set("SECRET", "hunter22hunter22", true)
            .await
            .body
            .get("value")
            .is_none()
    );
    set("OPEN", "visible-value", false).await;
    // Sealed once, sealed for ever.
    assert_eq!(
        set("SECRET", "other-secret-value", false).await.body["sealed"],
        true
    );
    let list = world
        .server
        .get(developer, &base)
        .await
        .expect(200)
        .body
        .to_string();
    assert!(list.contains("visible-value") && !list.contains("other-secret-value"));
    let dump: String = sqlx::query_scalar(
        "select (select string_agg(v::text, '') from variable v)
             || (select string_agg(a::text, '') from audit_event a)
             || (select string_agg(e::text, '') from event e)",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    for value in ["hunter22", "other-secret-value", "visible-value"] {
        assert!(
            !dump.contains(value) && !dump.contains(&hex::encode(value)),
            "{value}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_values_is_written_down_before_the_answer() {
    let world = World::new().await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    let path = objects.fill("/v1/services/{service_id}/variables");
    world
        .server
        .get(&world.acme.developer, &path)
        .await
        .expect(200);
    let reads: i64 =
        sqlx::query_scalar("select count(*) from audit_event where action = 'variable.list'")
            .fetch_one(world.pool())
            .await
            .unwrap();
    assert_eq!(reads, 1);
    sqlx::query("revoke insert on audit_event from railhead_app, railhead_system")
        .execute(world.pool())
        .await
        .unwrap();
    let refused = world
        .server
        .get(&world.acme.developer, &path)
        .await
        .expect(500);
    assert!(refused.body.get("items").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn references_that_lead_nowhere_or_in_a_circle_stop_a_deployment_before_it_begins() {
    let world = World::new().await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    let base = objects.fill("/v1/services/{service_id}/variables");
    let deployments = objects.fill("/v1/services/{service_id}/deployments");
    let developer = &world.acme.developer;
    for (name, value, code) in [
        ("B", "${{shared.MISSING}}", "reference_unresolved"),
        ("B", "${{web.C}}", "reference_unresolved"),
        ("C", "${{web.B}}", "reference_circular"),
    ] {
        let path = format!("{base}/{name}");
        world
            .server
            .put(developer, &path, json!({ "value": value }))
            .await
            .expect(200);
        let answer = world
            .server
            .post(developer, &deployments, json!({}))
            .await
            .expect(422);
        assert_eq!(answer.code(), code, "{}", answer.body);
    }
    let count: i64 = sqlx::query_scalar("select count(*) from deployment")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(count, 1, "only the one that Objects made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_secret_is_made_once() {
    let world = World::new().await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    let path = objects.fill("/v1/services/{service_id}/variables/SALT");
    let body = json!({ "value": "x-${{secret(32)}}" });
    let value = world
        .server
        .put(&world.acme.developer, &path, body)
        .await
        .expect(200)
        .text("value");
    assert_eq!(value.len(), 34);
    assert!(value.starts_with("x-") && !value.contains("secret"));
}
