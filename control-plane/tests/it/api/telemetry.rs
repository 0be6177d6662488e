//! What the control plane shows to Prometheus.

use std::collections::BTreeSet;

use testkit::wait::until;

use crate::orchestration::platform::DEADLINE;

use super::world::World;

/// Dashboards and alerts are written against these.
#[tokio::test(flavor = "multi_thread")]
async fn the_names_stay_and_no_label_is_a_clients_text() {
    let world = World::new().await;
    let _replica = world.platform.replica().await;
    let server = &world.server;
    server.get(&world.acme.owner, "/v1/me").await.expect(200);
    for strange in ["/v1/nothing/a", "/v1/projects/b", "/c?d=e"] {
        server.get(&world.acme.owner, strange).await.expect(404);
    }
    let gather = || telemetry::metrics::registry().gather();
    until(DEADLINE, async || {
        let tasks = gather()
            .iter()
            .filter(|family| family.name() == "railhead_reconcile_turns_total")
            .map(|family| family.get_metric().len())
            .sum::<usize>();
        tasks >= 10
    })
    .await;
    let families = gather();
    insta::assert_snapshot!(testkit::metrics::catalogue(&families), @"");
    let routes: BTreeSet<&str> = families
        .iter()
        .flat_map(|family| family.get_metric())
        .flat_map(|metric| metric.get_label())
        .filter(|label| label.name() == "route")
        .map(|label| label.value())
        .collect();
    assert_eq!(
        routes.into_iter().collect::<Vec<_>>(),
        ["", "/v1/me", "/v1/projects/{project_id}"]
    );
}
