//! What this node shall do: the items of its feed by kind, as `link` has them from the disk or from
//! the control plane.

use std::{collections::BTreeMap, sync::Arc};

use domain::id::{BuildId, InstanceId};
use link::follow::{Standing, State};
use protocol::item::{BuildItem, InstanceItem, NodeItem};
use tokio::sync::watch;

/// The newest document of the node's feed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Containers.
    pub instances: BTreeMap<InstanceId, Wanted>,
    /// Image builds.
    pub builds: BTreeMap<BuildId, Arc<BuildItem>>,
}

/// One container of the document.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// As rendered by the control plane.
    pub item: Arc<InstanceItem>,
    /// The newest document lacks it without a cause: it runs on, and is reported so (DESIGN §5).
    pub orphaned: bool,
}

impl Desired {
    /// `None` before the first document: then nothing is known, and nothing may end.
    #[must_use]
    pub fn from_state(state: &State<NodeItem>) -> Option<Self> {
        state.commit.as_ref()?;
        let mut desired = Self::default();
        for entry in state.items.values() {
            let orphaned = matches!(entry.standing, Standing::Held | Standing::Orphaned);
            desired.insert(&entry.item, orphaned);
        }
        Some(desired)
    }

    fn insert(&mut self, item: &NodeItem, orphaned: bool) {
        match item {
            NodeItem::Instance(item) => {
                let item = Arc::new(InstanceItem::clone(item));
                self.instances.insert(item.id, Wanted { item, orphaned });
            }
            NodeItem::Build(item) => {
                self.builds
                    .insert(item.id, Arc::new(BuildItem::clone(item)));
            }
            // The link refuses these by itself.
            NodeItem::Denied(_) => {}
        }
    }
}

/// Follows the feed's state until the task is dropped.
pub async fn follow(
    mut state: watch::Receiver<Arc<State<NodeItem>>>,
    desired: watch::Sender<Option<Arc<Desired>>>,
) {
    while state.changed().await.is_ok() {
        let next = Desired::from_state(&state.borrow_and_update());
        desired.send_replace(next.map(Arc::new));
    }
}
