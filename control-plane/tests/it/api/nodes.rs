//! What operators may do to nodes, and when they may not.

use serde_json::json;
use uuid::Uuid;

use super::world::World;

/// A node that reported last so many seconds ago; late when that is longer than 45.
pub(super) async fn node(world: &World, name: &str, role: &str, silent_seconds: f64) -> String {
    let id = Uuid::now_v7();
    sqlx::query(
        "with joined as (
            insert into node (id, region_id, role, name, public_key)
            select $1, id, $3, $2, '' from region where name = 'us-east'
         )
         insert into node_status (node_id, boot_id, sequence, protocol, binary_version, reported_at, late_since)
         values ($1, 'boot', 1, 1, 'test', now() - make_interval(secs => $4), case when $4 > 45 then now() end)",
    )
    .bind(id)
    .bind(name)
    .bind(role)
    .bind(silent_seconds)
    .execute(world.pool())
    .await
    .unwrap();
    format!("/v1/nodes/{}", domain::id::NodeId::from(id))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_silent_agent_is_fenced_and_then_not_let_in_before_it_has_come_back() {
    let world = World::new().await;
    let (server, operator) = (&world.server, &world.operator);
    let fence = async |path: &str, reason: &str| {
        let path = format!("{path}/fence");
        server
            .post(operator, &path, json!({ "reason": reason }))
            .await
    };
    let edge = node(&world, "e9", "edge", 300.0).await;
    let reports = node(&world, "a8", "agent", 1.0).await;
    let silent = node(&world, "a9", "agent", 300.0).await;

    let answer = fence(&edge, "its disk is gone").await.expect(409);
    assert!(
        answer.text("detail").contains("is an edge"),
        "{}",
        answer.body
    );
    let answer = fence(&reports, "its disk is gone").await.expect(409);
    assert!(
        answer.text("detail").contains("still reports"),
        "{}",
        answer.body
    );
    let answer = fence(&silent, "  ").await.expect(422);
    assert_eq!(answer.code(), "invalid_field");

    let answer = fence(&silent, "its disk is gone").await.expect(200);
    assert_eq!(answer.body["fenced"], true);
    assert_eq!(answer.body["schedulable"], false);
    let audited: i64 = sqlx::query_scalar(
        "select count(*) from audit_event where action = 'node.fence' and detail ->> 'reason' = 'its disk is gone'
           and outcome = 'success'",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(audited, 1);

    let back = json!({ "schedulable": true });
    let answer = server.patch(operator, &silent, back).await.expect(409);
    assert!(
        answer.text("detail").contains("is fenced until"),
        "{}",
        answer.body
    );
    server.delete(operator, &silent).await.expect(204);
    let answer = fence(&silent, "its disk is gone").await.expect(409);
    assert!(
        answer.text("detail").contains("was expelled"),
        "{}",
        answer.body
    );
}
