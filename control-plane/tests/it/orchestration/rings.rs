//! Rings of edges: a tenant's change is in all of them at once; a change of the platform's goes from
//! one to the next, and a bad one no further than the canary.

use control_plane::feed::route::{Rendering, RouteItem};
use domain::ring::Ring;
use protocol::{
    feed::digest::Rendered,
    item::{GlobalRouteItem, RegionRouteItem},
    report::Traffic,
};
use testkit::{fake_edge::FakeEdge, wait::until};

use super::platform::{DEADLINE, Platform, Replica};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;

/// Version 2 sends every plain request to HTTPS: easy to see.
const GOOD: Rendering = Rendering {
    version: 2,
    render: |version, item| match item {
        RouteItem::Global(GlobalRouteItem::Hostname(hostname)) if version >= 2 => {
            let mut hostname = hostname.clone();
            hostname.https_redirect = false;
            Rendered::of(&GlobalRouteItem::Hostname(hostname))
        }
        item => Rendered::of(item),
    },
};

/// Version 2 forgets where instances are.
const BAD: Rendering = Rendering {
    version: 2,
    render: |version, item| match item {
        RouteItem::Region(RegionRouteItem::Service(service)) if version >= 2 => {
            let mut service = service.clone();
            service.endpoints.clear();
            Rendered::of(&RegionRouteItem::Service(service))
        }
        item => Rendered::of(item),
    },
};

fn redirects(edge: &FakeEdge) -> Vec<bool> {
    let state = edge.global_routes().borrow().clone();
    let hostnames = state.items.values().filter_map(|entry| match &entry.item {
        GlobalRouteItem::Hostname(hostname) => Some(hostname.https_redirect),
        _ => None,
    });
    hostnames.collect()
}

fn endpoints(edge: &FakeEdge) -> Vec<usize> {
    let state = edge.region_routes().borrow().clone();
    let services = state.items.values().filter_map(|entry| match &entry.item {
        RegionRouteItem::Service(service) => Some(service.endpoints.len()),
        RegionRouteItem::Agent(_) => None,
    });
    services.collect()
}

/// The ring whose routes an edge has.
fn follows(edge: &FakeEdge) -> Option<Ring> {
    let state = edge.global_routes().borrow().clone();
    state.commit.as_ref().and_then(|commit| commit.feed.ring())
}

async fn move_to(platform: &Platform, edge: &FakeEdge, ring: Ring) {
    sqlx::query("update node set ring = $2 where id = $1")
        .bind(edge.node_id().uuid())
        .bind(ring.as_str())
        .execute(&platform.pool)
        .await
        .unwrap();
    until(DEADLINE, async || {
        let region = edge.region_routes().borrow().commit.clone();
        let of_region = region.and_then(|commit| commit.feed.ring());
        follows(edge) == Some(ring) && of_region == Some(ring)
    })
    .await;
}

async fn rollout(platform: &Platform) -> (i32, String, Option<String>) {
    sqlx::query_as("select version, state, problem from rollout")
        .fetch_one(&platform.pool)
        .await
        .unwrap()
}

async fn versions(platform: &Platform) -> Vec<i32> {
    sqlx::query_scalar(
        "select version from ring order by array_position(array['canary', 'region', 'all'], name)",
    )
    .fetch_all(&platform.pool)
    .await
    .unwrap()
}

/// Rings whose edges are known to serve by what they have, and what they have counted.
async fn serving(platform: &Platform) -> i64 {
    sqlx::query_scalar("select count(*) from ring where counted_at >= soaking_since")
        .fetch_one(&platform.pool)
        .await
        .unwrap()
}

async fn a_soak_time_passes(platform: &Platform) {
    sqlx::query(
        "update ring set soaking_since = soaking_since - interval '1 minute',
            counted_at = counted_at - interval '1 minute'",
    )
    .execute(&platform.pool)
    .await
    .unwrap();
}

/// An edge in each ring, and a service that is live on all.
async fn live(
    platform: &Platform,
    replica: &Replica,
) -> ([FakeEdge; 3], testkit::fake_agent::FakeAgent) {
    let agent = platform.agent(replica, "us-east", "east-1").await;
    let edges = [
        platform.edge(replica, "us-east", "canary-edge").await,
        platform.edge(replica, "us-east", "region-edge").await,
        platform.edge(replica, "us-east", "other-edge").await,
    ];
    let service = platform.service("web", ONE).await;
    let deployment = platform.deploy(replica, service).await;
    platform.reaches(deployment, "live").await;
    for (edge, ring) in edges.iter().zip(Ring::ORDER) {
        move_to(platform, edge, ring).await;
    }
    (edges, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_goes_over_to_another_ring_and_a_tenants_change_reaches_every_ring_at_once() {
    let platform = Platform::with("[node]\nreport_interval = \"200ms\"").await;
    let replica = platform.replica().await;
    let (edges, _agent) = live(&platform, &replica).await;
    for edge in &edges {
        assert_eq!((endpoints(edge), redirects(edge)), (vec![1], vec![true]));
    }
    // Deployments wait for the edges of every ring.
    let service = platform.service("api", ONE).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;
    for edge in &edges {
        assert_eq!(endpoints(edge), [1, 1]);
    }
    let written: Vec<i64> = sqlx::query_scalar(
        "select count(distinct xmin::text) from feed_item where id like 'service/%' group by id",
    )
    .fetch_all(&platform.pool)
    .await
    .unwrap();
    assert_eq!(written, [1, 1], "all rings are written in one transaction");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_goes_from_ring_to_ring_and_older_replicas_stand_back() {
    let platform =
        Platform::with("[node]\nreport_interval = \"200ms\"\n[rollout]\nsoak = \"1s\"").await;
    let old = platform.replica().await;
    let (edges, _agent) = live(&platform, &old).await;
    let _new = platform.replica_rendering(GOOD).await;
    until(DEADLINE, async || {
        rollout(&platform).await == (2, "done".to_owned(), None)
    })
    .await;
    assert_eq!(versions(&platform).await, [2, 2, 2]);
    for edge in &edges {
        assert_eq!(redirects(edge), [false]);
    }
    // Both replicas run; what a tenant wants next is rendered by the newer one.
    let service = platform.service("api", ONE).await;
    let deployment = platform.deploy(&old, service).await;
    platform.reaches(deployment, "live").await;
    assert_eq!(redirects(&edges[2]), [false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_stops_at_the_canary_which_goes_back_and_nobody_else_sees_it() {
    let platform =
        Platform::with("[node]\nreport_interval = \"200ms\"\n[rollout]\nsoak = \"60s\"").await;
    let old = platform.replica().await;
    let (edges, _agent) = live(&platform, &old).await;
    let [canary, region, other] = &edges;
    until(DEADLINE, async || {
        serving(&platform).await == Ring::ORDER.len() as i64
    })
    .await;
    let traffic = Traffic {
        requests: 10_000,
        failed: 10,
        ..Traffic::default()
    };
    for edge in &edges {
        edge.set_traffic(traffic);
    }
    until(DEADLINE, async || {
        let seen: i64 =
            sqlx::query_scalar("select count(*) from node_status where requests = 10000")
                .fetch_one(&platform.pool)
                .await
                .unwrap();
        seen == 3
    })
    .await;
    a_soak_time_passes(&platform).await;
    let _new = platform.replica_rendering(BAD).await;
    until(DEADLINE, async || endpoints(canary) == [0]).await;
    // A canary without endpoints answers 503.
    canary.set_traffic(Traffic {
        requests: 10_500,
        failed: 400,
        ..traffic
    });
    until(DEADLINE, async || rollout(&platform).await.1 == "stopped").await;
    let (version, _, problem) = rollout(&platform).await;
    assert_eq!(version, 2);
    assert!(problem.unwrap().contains("canary-edge"));
    until(DEADLINE, async || endpoints(canary) == [1]).await;
    assert_eq!(versions(&platform).await, [1, 1, 1]);
    assert_eq!((endpoints(region), endpoints(other)), (vec![1], vec![1]));
    // A tenant's change still reaches everybody.
    let service = platform.service("api", ONE).await;
    let deployment = platform.deploy(&old, service).await;
    platform.reaches(deployment, "live").await;
    for edge in &edges {
        assert_eq!(endpoints(edge), [1, 1]);
    }
}
