//! What a replica has decided about a build that it read is refused once another replica has gone on.

use control_plane::store::{
    Pools,
    build::{self, Build},
    tx::SystemTx,
};
use domain::id::{BuildId, DeploymentId, NodeId};
use serde_json::json;
use sqlx::types::Json;

use crate::orchestration::platform::Platform;

#[tokio::test(flavor = "multi_thread")]
async fn who_stood_still_neither_gives_a_build_away_again_nor_tells_its_old_node_of_it() {
    let platform = Platform::new().await;
    let pools = platform.pools().await;
    let (one, other) = (node(&platform, "one").await, node(&platform, "other").await);
    let id = waiting_build(&platform).await;

    let unassigned = read(&pools, id).await;
    assert!(assign(&pools, &unassigned, one).await);
    assert!(!assign(&pools, &unassigned, other).await, "given away");
    let at_one = read(&pools, id).await;
    assert!(hold(&pools, &at_one).await);
    assert!(assign(&pools, &at_one, other).await, "its node is lost");
    assert!(!hold(&pools, &at_one).await, "it is elsewhere");

    let at_other = read(&pools, id).await;
    sqlx::query("update build set finished_at = now() where id = $1")
        .bind(id.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    assert!(!hold(&pools, &at_other).await, "it has ended");
    assert!(!assign(&pools, &at_other, one).await, "it has ended");
}

async fn read(pools: &Pools, id: BuildId) -> Build {
    let mut tx = SystemTx::begin(pools).await.unwrap();
    let open = build::open(&mut tx).await.unwrap();
    let read = open.into_iter().find(|(read, _)| *read == id);
    read.unwrap().1.unwrap()
}

async fn assign(pools: &Pools, build: &Build, node: NodeId) -> bool {
    let mut tx = SystemTx::begin(pools).await.unwrap();
    let assigned = build::assign(&mut tx, build, node).await.unwrap();
    tx.commit().await.unwrap();
    assigned
}

async fn hold(pools: &Pools, build: &Build) -> bool {
    let mut tx = SystemTx::begin(pools).await.unwrap();
    build::hold(&mut tx, build).await.unwrap()
}

async fn node(platform: &Platform, name: &str) -> NodeId {
    let id = NodeId::new();
    sqlx::query(
        "insert into node (id, region_id, role, name, public_key)
         select $1, id, 'agent', $2, '' from region where name = 'us-east'",
    )
    .bind(id.uuid())
    .bind(name)
    .execute(&platform.pool)
    .await
    .unwrap();
    id
}

async fn waiting_build(platform: &Platform) -> BuildId {
    let spec = r#"{ "scale": { "regions": { "us-east": 1 } } }"#;
    let service = platform.service("web", spec).await;
    let source = json!({ "from": "git", "repo": "https://git.example.com/a.git" });
    let (deployment, build) = (DeploymentId::new(), BuildId::new());
    sqlx::query(
        "insert into deployment (id, organization_id, service_id, number, source, spec, reason, state)
         select $1, organization_id, id, 1, $3, spec, 'deploy', 'queued' from service where id = $2",
    )
    .bind(deployment.uuid())
    .bind(service.uuid())
    .bind(Json(&source))
    .execute(&platform.pool)
    .await
    .unwrap();
    sqlx::query(
        "insert into build (id, organization_id, service_id, deployment_id, source)
         select $1, organization_id, service_id, id, $3 from deployment where id = $2",
    )
    .bind(build.uuid())
    .bind(deployment.uuid())
    .bind(Json(&source))
    .execute(&platform.pool)
    .await
    .unwrap();
    build
}
