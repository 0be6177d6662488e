//! What the control plane shows to Prometheus.

use std::collections::BTreeSet;

use prometheus::proto::MetricFamily;
use testkit::wait::until;

use crate::orchestration::platform::DEADLINE;

use super::{operations, world::World};

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
        let families = gather();
        let turns = |family: &&MetricFamily| family.name() == "railhead_reconcile_turns_total";
        let tasks = families
            .iter()
            .find(turns)
            .map(|family| family.get_metric().len());
        let told = |name: &str| families.iter().any(|family| family.name() == name);
        tasks >= Some(10)
            && told("railhead_rollout_stopped")
            && told("railhead_replacement_stopped")
    })
    .await;
    let families = gather();
    insta::assert_snapshot!(testkit::metrics::catalogue(&families), @"
    railhead_build_info{commit,version} gauge
    railhead_deployments_ended_total{cause,state} counter
    railhead_http_request_duration_seconds{method,route,status} histogram
    railhead_http_requests_shed_total{} counter
    railhead_reconcile_duration_seconds{task} histogram
    railhead_reconcile_last_success_timestamp_seconds{task} gauge
    railhead_reconcile_refused_total{task} counter
    railhead_reconcile_turns_total{outcome,task} counter
    railhead_replacement_stopped{region} gauge
    railhead_rollout_ring_version{ring} gauge
    railhead_rollout_stopped{} gauge
    ");
    let routes: BTreeSet<&str> = families
        .iter()
        .flat_map(MetricFamily::get_metric)
        .flat_map(prometheus::proto::Metric::get_label)
        .filter(|label| label.name() == "route")
        .map(prometheus::proto::LabelPair::value)
        .collect();
    let known: Vec<_> = operations::all().into_iter().map(|o| o.path).collect();
    for route in routes {
        assert!(
            route.is_empty() || known.iter().any(|path| path == route),
            "{route}"
        );
    }
}
