//! Simulated agents: the real protocol over mTLS, without containers.

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use testkit::fake_agent::FakeAgent;

use crate::installation::{Installation, REGION};

/// A join costs a key pair and a signature here, and some rows there.
const AT_ONCE: usize = 8;

/// Lets as many agents join.
pub async fn join(installation: &Installation, count: usize) -> Result<Vec<FakeAgent>> {
    stream::iter(0..count)
        .map(|n| async move {
            let token = installation.client.join_token(REGION, "agent").await?;
            let name = format!("agent-{n}");
            FakeAgent::join(installation.node_url.clone(), &token, &name).await
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}
