//! What this node shall do: the items of its feed by kind, as `link` has them from the disk or from
//! the control plane.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::id::{BuildId, InstanceId};
use link::follow::{Entry, Standing, State, Status};
use protocol::{
    item::{BuildItem, InstanceItem, NodeItem},
    report::StoredItem,
};
use tokio::sync::watch;

/// The newest document of the node's feed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Containers.
    pub instances: BTreeMap<InstanceId, Wanted>,
    /// Image builds.
    pub builds: BTreeMap<BuildId, Arc<BuildItem>>,
    /// Told to go, whether any document ever had them or not.
    pub let_go: BTreeSet<InstanceId>,
    /// From the disk: the control plane has not said since the agent started that this is the newest.
    pub unheard: bool,
}

/// One container of the document.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// As rendered by the control plane.
    pub item: Arc<InstanceItem>,
    /// The newest document lacks it without a cause: it runs on, and is reported so.
    pub orphaned: bool,
    /// Of an orphan: the bytes that it runs by, so that the control plane can take it back.
    pub stored: Option<StoredItem>,
}

impl Desired {
    /// `None` before the first document: then nothing is known, and nothing may end. `heard` is the feed's.
    #[must_use]
    pub fn from_state(state: &State<NodeItem>, heard: bool) -> Option<Self> {
        state.commit.as_ref()?;
        let instance = |id: &String| id.strip_prefix("instance/")?.parse().ok();
        let mut desired = Self {
            let_go: state.let_go.iter().filter_map(instance).collect(),
            unheard: !heard,
            ..Self::default()
        };
        for entry in state.items.values() {
            desired.insert(entry);
        }
        Some(desired)
    }

    fn insert(&mut self, entry: &Entry<NodeItem>) {
        match &entry.item {
            NodeItem::Instance(item) => {
                let orphaned = matches!(entry.standing, Standing::Held | Standing::Orphaned);
                let wanted = Wanted {
                    item: Arc::new(InstanceItem::clone(item)),
                    orphaned,
                    stored: orphaned.then(|| stored(entry)).flatten(),
                };
                self.instances.insert(item.id, wanted);
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

fn stored(entry: &Entry<NodeItem>) -> Option<StoredItem> {
    let rendered = entry.rendered()?;
    Some(StoredItem {
        json: rendered.json().to_owned(),
        sha256: hex::encode(rendered.sha256()),
    })
}

/// Follows the feed until the task is dropped.
pub async fn follow(
    mut state: watch::Receiver<Arc<State<NodeItem>>>,
    mut status: watch::Receiver<Status>,
    desired: watch::Sender<Option<Arc<Desired>>>,
) {
    let mut heard = false;
    loop {
        let read = tokio::select! {
            read = state.changed() => read,
            read = status.wait_for(|status| status.heard), if !heard => read.map(|_| ()),
        };
        if read.is_err() {
            return;
        }
        heard = status.borrow().heard;
        // What is heard is shown before it is said to be heard.
        let next = Desired::from_state(&state.borrow_and_update(), heard);
        desired.send_replace(next.map(Arc::new));
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        generation::{Epoch, Generation},
        id::NodeId,
    };
    use protocol::feed::{Commit, FeedName};

    use super::*;

    #[tokio::test]
    async fn a_document_from_the_disk_is_one_that_was_heard_once_the_feed_says_so() {
        let commit = Commit {
            feed: FeedName::Node(NodeId::new()),
            epoch: Epoch(1),
            generation: Generation(1),
            digest: String::new(),
            count: 0,
            signature: String::new(),
        };
        let document = Arc::new(State {
            commit: Some(commit),
            ..State::default()
        });
        let (_state, shown) = watch::channel(document);
        let (status, standing) = watch::channel(Status::default());
        let (sender, mut desired) = watch::channel(None);
        let following = tokio::spawn(follow(shown, standing, sender));
        status.send_modify(|status| status.connected = true);
        status.send_modify(|status| status.heard = true);
        desired.changed().await.unwrap();
        assert!(!desired.borrow().as_ref().unwrap().unheard);
        following.abort();
    }
}
