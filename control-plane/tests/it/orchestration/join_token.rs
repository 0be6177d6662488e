//! What a machine is told about a join token before and after it is used, and names that come back.

use link::{client::Error, identity::look_up};
use protocol::{
    join::{JoinTokenStatus, Role},
    join_token::JoinToken,
};
use testkit::{fake_agent::FakeAgent, fake_edge::FakeEdge, wait::until};

use super::platform::{DEADLINE, Platform, Replica};

async fn ask(replica: &Replica, token: &str) -> Result<JoinTokenStatus, Error> {
    let token: JoinToken = token.parse().unwrap();
    look_up(&replica.url, &token).await
}

async fn is_ready(replica: &Replica, token: &str) -> bool {
    let status = ask(replica, token).await.unwrap();
    status.node.is_some_and(|node| node.ready)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_what_it_is_good_for_and_whether_its_node_is_ready() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let text = platform.join_token("us-east", Role::Agent, 15).await;
    let open = ask(&replica, &text).await.unwrap();
    assert_eq!((open.region.as_str(), open.role), ("us-east", Role::Agent));
    assert_eq!(open.registry, replica.state.config.registry.host);
    assert_eq!(open.ca, replica.state.keys.authority.pem());
    assert!((chrono::Utc::now() - open.now).num_seconds().abs() < 30);
    assert_eq!(
        ask(&replica, &text).await.unwrap().node,
        None,
        "looking uses nothing up"
    );

    let agent = FakeAgent::join(replica.url.clone(), &text, "n1")
        .await
        .unwrap();
    until(DEADLINE, async || is_ready(&replica, &text).await).await;
    let node = ask(&replica, &text).await.unwrap().node.unwrap();
    assert_eq!((node.id, node.name.as_str()), (agent.node_id(), "n1"));

    let text = platform.join_token("us-east", Role::Edge, 15).await;
    let _edge = FakeEdge::join(replica.url.clone(), &text, "n1")
        .await
        .unwrap();
    until(DEADLINE, async || is_ready(&replica, &text).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_expired_or_foreign_token_says_nothing() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let expired = platform.join_token("us-east", Role::Edge, -1).await;
    let good = platform.join_token("us-east", Role::Edge, 15).await;
    let mut wrong: JoinToken = good.parse().unwrap();
    wrong.secret = "00".repeat(32);
    let mut foreign: JoinToken = good.parse().unwrap();
    foreign.ca_sha256 = [0; 32];
    for (token, code) in [
        (expired, "join_token_expired"),
        (wrong.to_string(), "join_token_invalid"),
        (foreign.to_string(), "certificate_foreign"),
    ] {
        assert_eq!(ask(&replica, &token).await.unwrap_err().code(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_an_expelled_node_may_be_used_again() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let join = async || {
        let token = platform.join_token("us-east", Role::Agent, 15).await;
        FakeAgent::join(replica.url.clone(), &token, "n1").await
    };
    let first = join().await.unwrap();
    assert!(join().await.is_err(), "two welcome nodes of one name");
    sqlx::query("update node set denied_at = now() where id = $1")
        .bind(first.node_id().uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    join().await.unwrap();
}
