//! A node that an operator expels: the control plane and all other nodes refuse it from then on.

use std::sync::Arc;

use control_plane::waker::Topic;
use domain::id::NodeId;
use link::follow::State;
use testkit::wait::until;
use tokio::sync::watch;

use super::platform::{DEADLINE, Platform};

async fn is_told<T>(state: &watch::Receiver<Arc<State<T>>>, expelled: NodeId) {
    let id = format!("denied/{expelled}");
    until(DEADLINE, async || {
        state.borrow().items.contains_key(id.as_str())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_are_told_whom_to_refuse() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let agent = platform.agent(&replica, "us-east", "a1").await;
    let edge = platform.edge(&replica, "eu-west", "e1").await;
    let expelled = platform.edge(&replica, "us-east", "e2").await.node_id();

    sqlx::query("update node set denied_at = now() where id = $1")
        .bind(expelled.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    replica.state.waker.wake(Topic::Routes);
    is_told(&agent.state(), expelled).await;
    is_told(&edge.global_routes(), expelled).await;
}
