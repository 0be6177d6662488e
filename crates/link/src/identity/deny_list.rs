//! Nodes that an operator has expelled. A certificate's expiry refuses nobody on node links, so this
//! must: it comes by the feeds, lies in their snapshots, is asked at each handshake, and cuts the links
//! that are open.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::id::NodeId;
use protocol::feed::FeedName;
use tokio::sync::watch;

type Lists = BTreeMap<FeedName, BTreeSet<NodeId>>;

/// Expelled nodes, by the feed that says so. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct DenyList(Arc<watch::Sender<Lists>>);

impl DenyList {
    /// Takes what a feed says now instead of what it said before.
    pub fn replace(&self, feed: &FeedName, nodes: BTreeSet<NodeId>) {
        self.0.send_if_modified(|lists| {
            let changed = lists.get(feed).is_none_or(|known| *known != nodes);
            if changed {
                lists.insert(feed.clone(), nodes);
            }
            changed
        });
    }

    /// Whether links with this node are refused.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        names(&self.0.borrow(), node)
    }

    /// Ends when this node is expelled, at once if it is already. Whoever holds a link with it cuts it then.
    pub async fn expelled(&self, node: NodeId) {
        let mut lists = self.0.subscribe();
        // The sender lives as long as `self`.
        if lists.wait_for(|lists| names(lists, node)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn names(lists: &Lists, node: NodeId) -> bool {
    lists.values().any(|nodes| nodes.contains(&node))
}
