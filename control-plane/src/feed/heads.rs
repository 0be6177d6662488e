//! Where every feed stands, read once for all streams of a replica: each stream that looks for itself costs
//! the database a transaction a second, and there are as many streams as nodes. A replica that has seen a feed stand
//! further knows by that, before any node shows it, that the database was put back.

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
    store::{
        self, epoch,
        feed::{heads, name_of},
        node_identity,
        tx::SystemTx,
    },
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

    /// The newest position of those that a feed had and has no more.
    fn lost<'a>(&self, before: &'a Self) -> Option<(&'a str, Position)> {
        let stood = before.positions.iter();
        stood
            .filter(|(feed, stood)| self.positions.get(*feed).is_some_and(|now| now < stood))
            .map(|(feed, stood)| (feed.as_str(), *stood))
            .max_by_key(|(_, stood)| *stood)
    }
}

/// Reads them at every wake-up, until the shutdown. While the database is away nothing is new.
pub async fn run(state: State, newest: watch::Sender<Option<Arc<Heads>>>) {
    let mut wakes = state.waker.subscribe(Topic::Feeds);
    loop {
        let known = newest.borrow().clone();
        match look(&state, known.as_deref()).await {
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

async fn look(state: &State, known: Option<&Heads>) -> Result<Heads, store::Error> {
    let mut tx = SystemTx::begin(&state.pools).await?;
    let mut heads = read(&mut tx).await?;
    if heads.barred || known.is_none_or(|known| heads.lost(known).is_none()) {
        return Ok(heads);
    }
    // A failover that nobody has noticed yet explains it.
    epoch::follow_timeline(&mut tx).await?;
    heads = read(&mut tx).await?;
    if let Some((feed, stood)) = known.and_then(|known| heads.lost(known)) {
        let name = name_of(feed)?;
        epoch::show(&mut tx, &name, stood).await?;
        tracing::error!(feed, %stood, "this database has lost what it had; no feed is served until `admin restored`");
        heads.barred = true;
    }
    tx.commit().await?;
    Ok(heads)
}

async fn read(tx: &mut SystemTx) -> Result<Heads, store::Error> {
    Ok(Heads {
        positions: heads(tx).await?,
        welcome: node_identity::welcome(tx).await?,
        barred: epoch::shown(tx).await?.is_some(),
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

    #[test]
    fn what_a_feed_had_and_has_no_more_is_lost() {
        let heads = |generations: &[i64]| Heads {
            positions: generations
                .iter()
                .enumerate()
                .map(|(feed, generation)| (feed.to_string(), at(*generation)))
                .collect(),
            ..Heads::default()
        };
        let before = heads(&[3, 5, 7]);
        assert_eq!(heads(&[3, 6, 8, 1]).lost(&before), None);
        assert_eq!(heads(&[3]).lost(&before), None, "a feed that is gone");
        assert_eq!(heads(&[2, 4, 7]).lost(&before), Some(("1", at(5))));
        let mut another_epoch = heads(&[1, 1, 1]);
        for position in another_epoch.positions.values_mut() {
            position.epoch = Epoch(2);
        }
        assert_eq!(another_epoch.lost(&before), None);
    }
}
