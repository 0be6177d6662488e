//! Nodes that an operator has expelled. A certificate's expiry refuses nobody on node links, so this
//! must: it comes by the feeds, lies in their snapshots, and is asked at each handshake.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::id::NodeId;
use protocol::feed::FeedName;
use tokio::sync::watch;

/// Expelled nodes, by the feed that says so. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct DenyList(Arc<watch::Sender<BTreeMap<FeedName, BTreeSet<NodeId>>>>);

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
        self.0.borrow().values().any(|nodes| nodes.contains(&node))
    }
}
