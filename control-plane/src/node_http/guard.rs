//! The epoch guard: nodes show their newest signed commits. A control plane that is shown
//! something newer than it has serves no feed until an operator has said which is true.

use protocol::feed::{Commit, signature::FeedKeys};

use super::{Error, Node};
use crate::{
    State,
    store::{epoch, feed, tx::SystemTx},
};

/// Refuses while something newer has been shown.
pub(super) async fn check(tx: &mut SystemTx) -> Result<(), Error> {
    match epoch::shown(tx).await? {
        None => Ok(()),
        Some(shown) => Err(Error::Behind {
            feed: shown.feed,
            shown: shown.position.to_string(),
        }),
    }
}

/// Compares what a node shows with what is stored.
pub(super) async fn examine(state: &State, node: &Node, commits: &[Commit]) -> Result<(), Error> {
    let keys = FeedKeys::from_base64(&[state.keys.signer.public_key()])
        .map_err(|error| Error::Malformed(error.to_string()))?;
    let mut tx = SystemTx::begin(&state.pools).await?;
    check(&mut tx).await?;
    for commit in commits {
        if !node.may_follow(&commit.feed) {
            return Err(Error::ForeignFeed(commit.feed.to_string()));
        }
        keys.verify(commit)
            .map_err(|error| Error::Malformed(error.to_string()))?;
        let head = feed::head(&mut tx, &commit.feed).await?;
        if head.is_behind(commit) {
            epoch::show(&mut tx, &commit.feed, commit.position()).await?;
            tx.commit().await?;
            tracing::error!(feed = %commit.feed, shown = %commit.position(), stored = %head.position,
                "a node has seen what this database has not; no feed is served until `admin restored`");
            return Err(Error::Behind {
                feed: commit.feed.to_string(),
                shown: commit.position().to_string(),
            });
        }
    }
    Ok(tx.commit().await?)
}
