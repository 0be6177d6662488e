//! What the node API lets a node do beside its feed: tokens for its own repositories, log lines of
//! its own instances and builds, nothing else.

use chrono::Utc;
use control_plane::logs::{Kind, Query};
use domain::id::{BuildId, InstanceId, OrganizationId, ServiceId};
use link::client;
use protocol::{
    join::RegistryTokenRequest,
    log::{LogBatch, LogLine, LogSource, Stream},
    report::BuildState,
};
use testkit::{fake_agent::FakeAgent, wait::until_some};

use crate::orchestration::platform::{DEADLINE, Platform};

const EAST: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;

/// The status of a refusal, or 200.
fn status<T>(answer: Result<T, client::Error>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(client::Error::Refused { status, .. }) => status.as_u16(),
        Err(error) => panic!("{error}"),
    }
}

async fn token(agent: &FakeAgent, repository: &str, push: bool) -> u16 {
    let request = RegistryTokenRequest {
        repository: repository.to_owned(),
        push,
        mount_from: Vec::new(),
    };
    status(agent.client().registry_token(&request).await)
}

fn lines(source: LogSource) -> LogBatch {
    LogBatch {
        source,
        first_line: 0,
        lines: vec![LogLine {
            at: Utc::now(),
            stream: Stream::Stdout,
            text: "hello".to_owned(),
        }],
        dropped: 0,
    }
}

/// The build that one of the agents was given.
async fn build_of(agent: &FakeAgent) -> Option<BuildId> {
    use protocol::item::NodeItem;
    let state = agent.state().borrow().clone();
    state.items.values().find_map(|entry| match &entry.item {
        NodeItem::Build(build) => Some(build.id),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reaches_what_its_feed_names_and_nothing_else() {
    let mut platform = Platform::new().await;
    let logs = crate::logs::database().await;
    platform.config_mut().database.logs_url = logs.url_as("railhead_owner").into();
    let replica = platform.replica().await;
    let agents = [
        platform.agent(&replica, "us-east", "one").await,
        platform.agent(&replica, "us-east", "two").await,
    ];
    for agent in &agents {
        agent.on_build(|_, report| report.state = BuildState::Building);
    }
    let service = platform.service("web", EAST).await;
    let deployment = platform.deploy(&replica, service).await;
    platform.reaches(deployment, "building").await;
    let (builder, build) = until_some(DEADLINE, async || {
        for (index, agent) in agents.iter().enumerate() {
            if let Some(build) = build_of(agent).await {
                return Some((index, build));
            }
        }
        None
    })
    .await;
    let (builder, idle) = (&agents[builder], &agents[1 - builder]);

    let organization = platform.organization;
    let own = format!("{organization}/{service}");
    let sibling = format!("{organization}/{}", ServiceId::new());
    let foreign = format!("{}/{}", OrganizationId::new(), ServiceId::new());
    for (repository, push, by_builder, by_idle) in [
        (own.as_str(), true, 200, 403),
        (&own, false, 200, 403),
        (&sibling, true, 403, 403),
        // `FROM` may name another image of the organization.
        (&sibling, false, 200, 403),
        (&foreign, true, 403, 403),
        (&foreign, false, 403, 403),
        ("library/python", false, 200, 200),
        ("library/python", true, 403, 403),
        ("library/../x", false, 400, 400),
        ("other", false, 400, 400),
    ] {
        assert_eq!(
            token(builder, repository, push).await,
            by_builder,
            "{repository} {push}"
        );
        assert_eq!(
            token(idle, repository, push).await,
            by_idle,
            "{repository} {push}"
        );
    }

    let batch = lines(LogSource::Build(build));
    let ship = async |agent: &FakeAgent, batch: &LogBatch| {
        status(agent.client().logs(std::slice::from_ref(batch)).await)
    };
    assert_eq!(ship(idle, &batch).await, 404, "another node's build");
    assert_eq!(ship(builder, &batch).await, 200);
    assert_eq!(ship(builder, &batch).await, 200);
    assert_eq!(
        ship(idle, &batch).await,
        404,
        "a source that is known by now"
    );
    let unknown = lines(LogSource::Instance(InstanceId::new()));
    assert_eq!(ship(builder, &unknown).await, 404);

    let query = Query {
        organization,
        service,
        deployment: Some(deployment),
        kind: Kind::Build,
        since: None,
        until: None,
        filter: None,
        limit: 10,
    };
    // Lines are seen once every transaction that began before theirs has ended: other tests have some.
    let records = until_some(DEADLINE, async || {
        let page = replica.state.logs.read(&query).await.unwrap();
        Some(page.records).filter(|records| !records.is_empty())
    })
    .await;
    assert_eq!(records.len(), 1, "{records:?}");
}
