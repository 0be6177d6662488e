//! Where every feed stands, read once for all streams of a replica: each stream that looks for itself costs
//! the database a transaction a second, and there are as many streams as nodes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use domain::{generation::Position, id::NodeId};
use protocol::feed::FeedName;
use tokio::sync::watch;

use crate::{
    State,
    store::{self, epoch, feed::heads, node_identity, tx::SystemTx},
    waker::Topic,
};

/// Without a wake-up it is read this often.
const POLL: Duration = Duration::from_secs(1);
/// Changes that come together are read together.
const PAUSE: Duration = Duration::from_millis(5);

/// Where feeds stood when they were last read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heads {
    positions: HashMap<String, Position>,
    welcome: HashSet<NodeId>,
    /// A node has shown what the database does not have: nobody is served.
    barred: bool,
}

/// The newest of them; none before the first was read, and closed when nobody reads them any more.
pub type Newest = watch::Receiver<Option<Arc<Heads>>>;

impl Heads {
    /// Whether a stream has to look: there is something newer than `seen`, or it must end.
    #[must_use]
    pub fn concern(&self, node: NodeId, feed: &FeedName, seen: Position) -> bool {
        let newest = self.positions.get(&feed.to_string());
        self.barred || !self.welcome.contains(&node) || newest.is_none_or(|newest| *newest != seen)
    }
}

/// Reads them at every wake-up, until the shutdown. While the database is away nothing is new.
pub async fn run(state: State, newest: watch::Sender<Option<Arc<Heads>>>) {
    let mut wakes = state.waker.subscribe(Topic::Feeds);
    loop {
        match read(&state).await {
            Ok(heads) => publish(&newest, heads),
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "where feeds stand is not known at the moment");
            }
            Err(error) => tracing::error!(%error, "where feeds stand can't be read"),
        }
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            () = next(&mut wakes) => {}
        }
    }
}

async fn next(wakes: &mut watch::Receiver<()>) {
    tokio::time::sleep(PAUSE).await;
    // When nobody can wake any more the replica ends.
    let _ = tokio::time::timeout(POLL, wakes.changed()).await;
}

fn publish(newest: &watch::Sender<Option<Arc<Heads>>>, heads: Heads) {
    newest.send_if_modified(|known| {
        let changed = known.as_deref() != Some(&heads);
        if changed {
            *known = Some(Arc::new(heads));
        }
        changed
    });
}

async fn read(state: &State) -> Result<Heads, store::Error> {
    let mut tx = SystemTx::begin(&state.pools).await?;
    Ok(Heads {
        positions: heads(&mut tx).await?,
        welcome: node_identity::welcome(&mut tx).await?,
        barred: epoch::shown(&mut tx).await?.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use domain::generation::{Epoch, Generation};

    use super::*;

    fn at(generation: i64) -> Position {
        Position {
            epoch: Epoch(1),
            generation: Generation(generation),
        }
    }

    #[test]
    fn a_stream_looks_when_there_is_something_for_it_and_when_it_must_end() {
        let node = NodeId::new();
        let feed = FeedName::Node(node);
        let heads = |welcome: &[NodeId], barred| Heads {
            positions: HashMap::from([(feed.to_string(), at(3))]),
            welcome: welcome.iter().copied().collect(),
            barred,
        };
        let quiet = heads(&[node], false);
        assert!(!quiet.concern(node, &feed, at(3)));
        assert!(quiet.concern(node, &feed, at(2)));
        assert!(quiet.concern(node, &FeedName::Node(NodeId::new()), at(3)));
        assert!(heads(&[], false).concern(node, &feed, at(3)));
        assert!(heads(&[node], true).concern(node, &feed, at(3)));
    }
}
