//! Edge rules of a service: what is told when they are saved.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    objects::Objects,
    world::{Answer, World, read},
};

struct Saving {
    world: World,
    path: String,
}

impl Saving {
    async fn new() -> Self {
        let world = World::new().await;
        let objects = Objects::make(&world, &world.acme, "shop").await;
        let path = objects.fill("/v1/services/{service_id}");
        Self { world, path }
    }

    /// With the service as it is, and these rules.
    async fn save(&self, rules: &Value, confirm: Option<bool>) -> Answer {
        let owner = &self.world.acme.owner;
        let service = self.world.server.get(owner, &self.path).await.expect(200);
        let mut spec = service.body["spec"].clone();
        spec["edge"] = json!({ "rules": rules });
        let mut body = json!({ "spec": spec });
        if let Some(confirm) = confirm {
            body["confirm_block_all"] = confirm.into();
        }
        let etag = service.headers["etag"].clone();
        let request = self
            .world
            .server
            .request(Method::PATCH, &self.path, Some(owner));
        read(request.header("if-match", etag).json(&body)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_can_not_be_read_is_named_with_its_place() {
    let saving = Saving::new().await;
    let rules = json!([
        { "if": "request.tls", "then": { "action": "allow" } },
        { "if": "request.path.startswith('/x')", "then": { "action": "redirect", "to": "/{nothing}" } },
    ]);
    let refused = saving.save(&rules, None).await.expect(422);
    assert_eq!(refused.code(), "invalid_field");
    let errors = refused.body["errors"].as_array().unwrap();
    let fields: Vec<_> = errors.iter().map(|error| &error["field"]).collect();
    assert_eq!(
        fields,
        ["spec.edge.rules[1].if", "spec.edge.rules[1].then.to"]
    );
    let reason = errors[0]["reason"].as_str().unwrap();
    assert!(reason.contains("startsWith"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_lock_everybody_out_are_kept_when_they_are_meant() {
    let saving = Saving::new().await;
    let rules = json!([
        { "if": "request.ip != '203.0.113.250'", "then": { "action": "block" } },
    ]);
    for unsaid in [None, Some(false)] {
        let refused = saving.save(&rules, unsaid).await.expect(409);
        assert_eq!(refused.code(), "blocks_everything");
    }
    let saved = saving.save(&rules, Some(true)).await.expect(200);
    assert_eq!(saved.body["spec"]["edge"]["rules"][0]["if"], rules[0]["if"]);
    saving.save(&rules, None).await.expect(200);
    let others = json!([
        { "if": "request.ip != '203.0.113.251'", "then": { "action": "block" } },
    ]);
    saving.save(&others, None).await.expect(409);
    saving.save(&json!([]), None).await.expect(200);
}
