//! How far other regions are: every edge of another region is asked for an answer every few seconds. So the nearest one is
//! known before a request has to go there, and one that is away is known to be.

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::id::NodeId;
use futures::{StreamExt as _, stream};
use protocol::item::EdgeItem;

use super::link::Links;
use crate::state::State;

const EVERY: Duration = Duration::from_secs(5);
/// Edges that are asked at the same time.
const AT_ONCE: usize = 32;

/// Measures for as long as the edge lives.
pub async fn run(state: Arc<State>, links: Arc<Links>) {
    loop {
        let edges = others(&state);
        let there: HashSet<NodeId> = edges.iter().map(|edge| edge.node_id).collect();
        links.retain(|known| there.contains(&known));
        let measuring = edges.into_iter().map(|edge| {
            let (state, links) = (Arc::clone(&state), Arc::clone(&links));
            async move { measure(&state, &links, &edge).await }
        });
        stream::iter(measuring)
            .for_each_concurrent(AT_ONCE, |measuring| measuring)
            .await;
        tokio::time::sleep(EVERY).await;
    }
}

async fn measure(state: &State, links: &Links, edge: &EdgeItem) {
    match links.measure(edge).await {
        Ok(time) => state.metrics.round_trip(&edge.region, time),
        Err(error) => {
            tracing::debug!(region = %edge.region, %error, "an edge of another region does not answer");
        }
    }
}

fn others(state: &State) -> Vec<EdgeItem> {
    let routes = state.routes.load();
    let edges = routes.edges().iter();
    edges
        .filter(|edge| edge.region != state.region)
        .cloned()
        .collect()
}
