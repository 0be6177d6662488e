//! One of everything that an organization can have, made through the API where the API makes it.

use std::collections::HashMap;

use domain::id::{InstanceId, NodeId, RegionId, ReleaseId, UserId};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    certificates::pair,
    world::{Tenant, World, person, read},
};

/// Ids by the name of the path parameter that they stand for.
pub struct Objects(pub HashMap<&'static str, String>);

impl Objects {
    /// Makes them for one organization. `tag` keeps names apart.
    pub async fn make(world: &World, tenant: &Tenant, tag: &str) -> Self {
        let mut objects = Self(HashMap::from([("organization_id", tenant.id.to_string())]));
        let (server, owner) = (&world.server, &tenant.owner);
        let create = async |path: String, body: Value| {
            let answer = server.post(owner, &path, body).await.expect(201);
            answer.text("id")
        };
        let organization = format!("/v1/organizations/{}", tenant.id);
        let project = create(format!("{organization}/projects"), json!({ "name": tag })).await;
        let environment = create(
            format!("/v1/projects/{project}/environments"),
            json!({ "name": "staging" }),
        )
        .await;
        let service = create(
            format!("/v1/environments/{environment}/services"),
            json!({ "name": "web", "spec": { "source": { "repo": "https://git.example.com/a.git" } } }),
        )
        .await;
        let keys = format!("/v1/projects/{project}/deploy-keys");
        let deploy_key = create(keys, json!({ "name": "ci" })).await;
        let hostname = json!({ "hostname": format!("{tag}.example.com") });
        let domain = create(format!("/v1/services/{service}/domains"), hostname).await;
        prove(world, &domain).await;
        let deployment = create(format!("/v1/services/{service}/deployments"), json!({})).await;
        for owner in [
            format!("/v1/services/{service}"),
            format!("/v1/environments/{environment}"),
        ] {
            let path = format!("{owner}/variables/A");
            server
                .put(&tenant.owner, &path, json!({ "value": "1" }))
                .await
                .expect(200);
        }
        let token = json!({ "organization_id": tenant.id, "name": "ci", "role": "viewer" });
        let api_token = create("/v1/api-tokens".to_owned(), token).await;
        let member = person(world.pool(), tenant.id, api::Role::Viewer, false).await;
        objects.0.extend([
            ("project_id", project),
            ("environment_id", environment),
            ("service_id", service.clone()),
            ("deploy_key_id", deploy_key),
            ("domain_id", domain),
            ("deployment_id", deployment),
            ("api_token_id", api_token),
            ("release_id", release(world, tenant, &service).await),
            ("user_id", member.user.to_string()),
            ("name", "A".to_owned()),
        ]);
        objects.0.extend(platform(world, tag).await);
        objects
    }

    /// A path with its parameters filled in.
    pub fn fill(&self, template: &str) -> String {
        self.0.iter().fold(template.to_owned(), |path, (name, id)| {
            path.replace(&format!("{{{name}}}"), id)
        })
    }
}

/// As if its DNS had been looked at and its owner had uploaded a certificate.
async fn prove(world: &World, domain: &str) {
    let domain: domain::id::DomainId = domain.parse().unwrap();
    sqlx::query("update domain set verified_at = now(), tls = 'uploaded' where id = $1")
        .bind(domain.uuid())
        .execute(world.pool())
        .await
        .unwrap();
}

/// What the platform's operator makes, and what only nodes make.
async fn platform(world: &World, tag: &str) -> Vec<(&'static str, String)> {
    let (server, operator) = (&world.server, &world.operator);
    let body = json!({ "name": format!("region-{tag}") });
    let region = server.post(operator, "/v1/regions", body).await.expect(201);
    let body = json!({ "region": region.text("name"), "role": "agent" });
    let token = server
        .post(operator, "/v1/join-tokens", body)
        .await
        .expect(201);
    let region_id: RegionId = region.text("id").parse().unwrap();
    let node = NodeId::new();
    sqlx::query(
        "insert into node (id, region_id, role, name, public_key) values ($1, $2, 'agent', 'one', '')",
    )
    .bind(node.uuid())
    .bind(region_id.uuid())
    .execute(world.pool())
    .await
    .unwrap();
    sqlx::query(
        "insert into node_feed (node_id, feed, epoch, generation, digest, held_drops)
         values ($1, 'routes/global', 1, 7, '', 9)",
    )
    .bind(node.uuid())
    .execute(world.pool())
    .await
    .unwrap();
    let instance = InstanceId::new();
    sqlx::query(
        "insert into orphan_instance (node_id, instance_id, service_id) values ($1, $2, $3)",
    )
    .bind(node.uuid())
    .bind(instance.uuid())
    .bind(Uuid::now_v7())
    .execute(world.pool())
    .await
    .unwrap();
    vec![
        ("region_id", region_id.to_string()),
        ("join_token_id", token.text("id")),
        ("node_id", node.to_string()),
        ("instance_id", instance.to_string()),
    ]
}

async fn release(world: &World, tenant: &Tenant, service: &str) -> String {
    let id = ReleaseId::new();
    let service: domain::id::ServiceId = service.parse().unwrap();
    sqlx::query(
        "insert into release (id, organization_id, service_id, number, image, spec, variables, content_digest)
         values ($1, $2, $3, 1, 'registry/x@sha256:0', '{}', '{}', '')",
    )
    .bind(id.uuid())
    .bind(tenant.id.uuid())
    .bind(service.uuid())
    .execute(world.pool())
    .await
    .unwrap();
    id.to_string()
}

/// A body that the operation takes.
pub fn body(operation: &str, tenant: &Tenant) -> Option<Value> {
    Some(match operation {
        "session.create" => json!({ "email": "a@example.test", "password": "not the password" }),
        "organization.create"
        | "project.create"
        | "environment.create"
        | "deploy_key.create"
        | "region.create" => json!({ "name": "fresh" }),
        "organization.update" | "project.update" | "environment.update" => {
            json!({ "name": "renamed" })
        }
        "user.create" => json!({
            "email": format!("{}@example.test", Uuid::now_v7()),
            "name": "New",
            "password": "a long password",
            "role": "viewer",
        }),
        "user.update" => json!({ "role": "developer" }),
        "service.create" => json!({ "name": "fresh", "spec": {} }),
        "service.update" => json!({ "spec": {} }),
        "service.scale" => json!({ "regions": { "us-east": 2 } }),
        "variable.set" | "shared_variable.set" => json!({ "value": "2" }),
        "deployment.create" => json!({ "source": { "from": "image", "image": "registry/x:1" } }),
        "domain.create" => json!({ "hostname": "fresh.example.org" }),
        "domain_certificate.set" => pair(&["*.example.com"]).body(),
        "region.update" => json!({ "enabled": false }),
        "node.update" => json!({ "schedulable": false }),
        "node.fence" => json!({ "reason": "a test" }),
        "node.override" => json!({ "feed": "routes/global", "reason": "a test" }),
        "rollout.stop" | "rollout.resume" => json!({ "reason": "a test" }),
        "join_token.create" => json!({ "region": "us-east", "role": "edge" }),
        "api_token.create" => {
            json!({ "organization_id": tenant.id, "name": "fresh", "role": "viewer" })
        }
        _ => return None,
    })
}

/// Sends an operation as a client would.
pub async fn send(
    world: &World,
    operation: &super::operations::Operation,
    path: &str,
    token: Option<&super::world::Person>,
    tenant: &Tenant,
) -> super::world::Answer {
    let mut request = world.server.request(operation.method.clone(), path, token);
    if operation.method == Method::PATCH {
        request = request.header("if-match", "*");
    }
    if let Some(body) = body(&operation.id, tenant) {
        request = request.json(&body);
    }
    if operation.id == "archive.create" {
        request = request.body(vec![0x1f, 0x8b, 0, 0]);
    }
    read(request).await
}

/// An id that nobody has.
pub fn unknown(parameter: &str) -> String {
    let prefix = match parameter {
        "user_id" => return UserId::new().to_string(),
        "name" => return "A".to_owned(),
        "organization_id" => "org",
        "project_id" => "prj",
        "environment_id" => "env",
        "service_id" => "svc",
        "deploy_key_id" => "dky",
        "domain_id" => "dom",
        "deployment_id" => "dep",
        "api_token_id" => "tok",
        "release_id" => "rel",
        "region_id" => "rgn",
        "join_token_id" => "jnt",
        "node_id" => "nod",
        "instance_id" => "ins",
        other => panic!("a new kind of path parameter: {other}; say what it looks like"),
    };
    format!("{prefix}_{}", Uuid::now_v7().simple())
}
