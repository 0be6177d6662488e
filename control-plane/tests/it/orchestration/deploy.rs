//! The life of deployments, from the row that the API writes to routes on edges.

use domain::{id::ReleaseId, instance::State};
use protocol::{
    item::{GlobalRouteItem, RegionRouteItem, Value},
    report::{BuildState, Problem},
};
use testkit::{fake_edge::FakeEdge, wait::until};

use super::platform::{DEADLINE, INSTANCES, Platform};

const BOTH: &str = r#"{"scale":{"regions":{"us-east":1,"eu-west":1}}}"#;

fn endpoints(edge: &FakeEdge) -> usize {
    let state = edge.region_routes().borrow().clone();
    state
        .items
        .values()
        .map(|entry| match &entry.item {
            RegionRouteItem::Service(service) => service.endpoints.len(),
            RegionRouteItem::Agent(_) => 0,
        })
        .sum()
}

fn hostnames(edge: &FakeEdge) -> Vec<String> {
    let state = edge.global_routes().borrow().clone();
    state
        .items
        .values()
        .filter_map(|entry| match &entry.item {
            GlobalRouteItem::Hostname(item) => Some(item.hostname.clone()),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_git_url_to_both_regions_and_every_edge() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let east = platform.agent(&replica, "us-east", "east-1").await;
    let _west = platform.agent(&replica, "eu-west", "west-1").await;
    let edges = [
        platform.edge(&replica, "us-east", "east-edge").await,
        platform.edge(&replica, "eu-west", "west-edge").await,
    ];
    let service = platform.service("web", BOTH).await;
    platform
        .variable(service, "GREETING", "hello ${{web.NAME}}")
        .await;
    platform.variable(service, "NAME", "world").await;

    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "live").await;

    for edge in &edges {
        assert_eq!(endpoints(edge), 1);
        assert_eq!(hostnames(edge), ["web-shop.railhead.test"]);
        let state = edge.global_routes().borrow().clone();
        let certificate = state.items.values().find_map(|entry| match &entry.item {
            GlobalRouteItem::Certificate(certificate) => Some(certificate.clone()),
            _ => None,
        });
        let certificate = certificate.expect("a certificate for the platform's domain");
        assert_eq!(certificate.names, ["*.railhead.test"]);
        let key = state
            .secrets
            .get(&certificate.key)
            .expect("its private key");
        assert!(key.contains("PRIVATE KEY"));
    }
    let state = east.state().borrow().clone();
    let instance = state.items.values().find_map(|entry| match &entry.item {
        protocol::item::NodeItem::Instance(instance) => Some(instance.clone()),
        protocol::item::NodeItem::Build(_) | protocol::item::NodeItem::Denied(_) => None,
    });
    let instance = instance.expect("an instance in us-east");
    let Value::Secret(greeting) = &instance.environment[&"GREETING".parse().unwrap()] else {
        panic!("a user's variable travels as a secret");
    };
    assert_eq!(state.secrets.get(greeting), Some("hello world"));
    assert_eq!(
        instance.environment[&"RAILHEAD_REGION".parse().unwrap()],
        Value::Literal("us-east".into())
    );
    let (requests, steps): (i64, i64) = sqlx::query_as(
        "select requests, (select count(*) from deployment_step where deployment_id = $1) from deployment where id = $1",
    )
    .bind(deployment.uuid())
    .fetch_one(&platform.pool)
    .await
    .unwrap();
    assert_eq!((requests, steps), (0, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_over_and_the_old_one_goes_only_when_edges_have_it() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform
        .service("web", r#"{"scale":{"regions":{"us-east":2}}}"#)
        .await;
    let first = platform.deploy(&replica, service).await;
    platform.reaches(first, "live").await;
    let second = platform.deploy(&replica, service).await;
    platform.reaches(second, "live").await;
    platform.counts(INSTANCES, service, 2).await;
    let state = edge.region_routes().borrow().clone();
    let item = state.items.values().find_map(|entry| match &entry.item {
        RegionRouteItem::Service(item) => Some(item.clone()),
        RegionRouteItem::Agent(_) => None,
    });
    assert_eq!(item.unwrap().deployment_id, second);
    until(DEADLINE, async || agent.state().borrow().items.len() == 2).await;
    let reserved: i64 = sqlx::query_scalar("select sum(reserved_cpu_millis)::bigint from node")
        .fetch_one(&platform.pool)
        .await
        .unwrap();
    assert_eq!(reserved, 500, "the old instances' room is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_never_gets_healthy_fails_with_its_reason_and_the_old_one_serves_on() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform
        .service("web", r#"{"scale":{"regions":{"us-east":1}}}"#)
        .await;
    let good = platform.deploy(&replica, service).await;
    platform.reaches(good, "live").await;

    agent.on_instance(move |item, report| {
        if item.deployment_id != good {
            report.state = State::Starting;
            report.ready = false;
            report.address = None;
            report.problem = Some(Problem {
                code: "startup_probe_failed".into(),
                message: "GET /health answered 500 for 300 s".into(),
            });
        }
    });
    let bad = platform.deploy(&replica, service).await;
    platform.reaches(bad, "failed").await;
    let (code, message) = platform.problem_of(bad).await.unwrap();
    assert_eq!(code, "startup_probe_failed");
    assert!(message.contains("answered 500"), "{message}");
    agent.on_instance(|_, _| {});
    platform.counts(INSTANCES, service, 1).await;
    let serving: uuid::Uuid =
        sqlx::query_scalar("select deployment_id from instance where stopped_at is null")
            .fetch_one(&platform.pool)
            .await
            .unwrap();
    assert_eq!(serving, good.uuid());
    assert_eq!(endpoints(&edge), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_is_the_deployments_reason() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    agent.on_build(|_, report| {
        report.state = BuildState::Failed {
            problem: Problem {
                code: "dockerfile_failed".into(),
                message: "RUN make exited with 2".into(),
            },
        };
    });
    let service = platform.service("web", BOTH).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "failed").await;
    let problem = platform.problem_of(deployment).await;
    assert_eq!(
        problem,
        Some(("dockerfile_failed".into(), "RUN make exited with 2".into()))
    );
    until(DEADLINE, async || agent.state().borrow().items.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_runs_the_release_as_it_was() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform
        .service("web", r#"{"scale":{"regions":{"us-east":1}}}"#)
        .await;
    platform.variable(service, "COLOR", "blue").await;
    let first = platform.deploy(&replica, service).await;
    platform.reaches(first, "live").await;
    let release: uuid::Uuid = sqlx::query_scalar("select release_id from deployment where id = $1")
        .bind(first.uuid())
        .fetch_one(&platform.pool)
        .await
        .unwrap();
    sqlx::query("delete from variable")
        .execute(&platform.pool)
        .await
        .unwrap();
    platform.variable(service, "COLOR", "red").await;
    let second = platform.deploy(&replica, service).await;
    platform.reaches(second, "live").await;
    let back = platform
        .rollback(&replica, service, ReleaseId::from(release))
        .await;
    platform.reaches(back, "live").await;
    platform.counts(INSTANCES, service, 1).await;
    until(DEADLINE, async || agent.state().borrow().items.len() == 1).await;
    let state = agent.state().borrow().clone();
    let Some(protocol::item::NodeItem::Instance(instance)) =
        state.items.values().map(|entry| &entry.item).next()
    else {
        panic!("one instance is left");
    };
    assert_eq!(
        (instance.release_id.uuid(), instance.deployment_id),
        (release, back)
    );
    let Value::Secret(color) = &instance.environment[&"COLOR".parse().unwrap()] else {
        panic!("a user's variable travels as a secret");
    };
    assert_eq!(state.secrets.get(color), Some("blue"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_deployment_supersedes_one_that_has_not_shifted_and_canceling_ends_one() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    agent.on_build(|_, report| report.state = BuildState::Building);
    let service = platform
        .service("web", r#"{"scale":{"regions":{"us-east":1}}}"#)
        .await;
    let first = platform.deploy(&replica, service).await;
    platform.reaches(first, "building").await;
    let second = platform.deploy(&replica, service).await;
    platform.reaches(first, "superseded").await;
    platform.reaches(second, "building").await;
    sqlx::query("update deployment set cancel_requested = true where id = $1")
        .bind(second.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    platform.reaches(second, "canceled").await;
    agent.on_build(|item, report| {
        if item.cancel {
            report.state = BuildState::Failed {
                problem: Problem {
                    code: "canceled".into(),
                    message: "canceled".into(),
                },
            };
        }
    });
    until(DEADLINE, async || agent.state().borrow().items.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_one_dies_in_mid_deployment_and_the_other_finishes() {
    let platform = Platform::new().await;
    let doomed = platform.replica().await;
    let survivor = platform.replica().await;
    let agent = platform.agent(&survivor, "us-east", "east-1").await;
    let _edge = platform.edge(&survivor, "us-east", "east-edge").await;
    let service = platform
        .service("web", r#"{"scale":{"regions":{"us-east":1}}}"#)
        .await;
    agent.on_build(|_, report| report.state = BuildState::Building);
    let deployment = platform.deploy(&doomed, service).await;
    platform.reaches(deployment, "building").await;
    drop(doomed);
    agent.on_build(|_, _| {});
    platform.reaches(deployment, "live").await;
    platform.counts(INSTANCES, service, 1).await;
}
