//! `GET /node/v1/desired`: a feed as a stream of NDJSON frames. Cold start, reconnect and resync are
//! this one path: everything since the position that the reader names, then what comes.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{self, Query},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::{
    generation::{Epoch, Generation, Position},
    id::NodeId,
};
use protocol::{
    feed::{Commit, FeedName, writer},
    join::Role,
};
use serde::Deserialize;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{Error, Node, admission::Admission, guard};
use crate::{
    State,
    feed::{
        heads::{self, Heads},
        secrets, stream,
    },
    store::{
        feed::{self, Following},
        node_identity,
        tx::SystemTx,
    },
};

const IDLE: Duration = Duration::from_secs(10);

/// After the database could not be asked.
const RETRY: Duration = Duration::from_secs(1);

/// Frames that wait for a slow reader.
const QUEUE: usize = 64;

/// Which feed, and what the reader has of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    feed: FeedName,
    #[serde(default)]
    epoch: Epoch,
    #[serde(default)]
    after: Generation,
}

/// `GET /node/v1/desired?feed=…&epoch=…&after=…`
pub(super) async fn desired(
    extract::State(state): extract::State<State>,
    Extension(admission): Extension<Arc<Admission>>,
    Extension(heads): Extension<heads::Newest>,
    node: Node,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    if !node.may_follow(&wanted.feed) {
        return Err(Error::ForeignFeed(wanted.feed.to_string()));
    }
    // Edges are few, and what they follow is what tenants wait for.
    if node.role == Role::Agent {
        admission.admit(node.id).map_err(Error::NotYet)?;
    }
    guard::examine(&state, &node, &shown(&headers)?).await?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let stream = Stream {
        state,
        heads,
        node: node.id,
        feed: wanted.feed,
        following: Following {
            epoch: wanted.epoch,
            after: wanted.after,
        },
        sender,
    };
    tokio::spawn(stream.run());
    let body = Body::from_stream(ReceiverStream::new(receiver));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn shown(headers: &HeaderMap) -> Result<Vec<Commit>, Error> {
    let Some(commits) = headers.get("railhead-commits") else {
        return Ok(Vec::new());
    };
    serde_json::from_slice(commits.as_bytes()).map_err(|error| {
        Error::Malformed(format!("railhead-commits is no list of commits: {error}"))
    })
}

struct Stream {
    state: State,
    heads: heads::Newest,
    node: NodeId,
    feed: FeedName,
    following: Following,
    sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
}

/// What a look at the feed led to.
enum Looked {
    Sent,
    Nothing,
    /// The database is away.
    Unavailable,
}

/// The reader has gone, or may have nothing more.
struct Ended;

impl Stream {
    async fn run(mut self) {
        let mut heads = self.heads.clone();
        heads.mark_unchanged();
        let mut look = true;
        // A reader that has everything hears that at once: its connection works.
        let mut said_something = None;
        loop {
            let mut pause = IDLE;
            if look {
                match self.send_changes().await {
                    Ok(Looked::Sent) => said_something = Some(Instant::now()),
                    Ok(Looked::Nothing) => {}
                    Ok(Looked::Unavailable) => pause = RETRY,
                    Err(Ended) => return,
                }
            }
            if said_something.is_none_or(|at| at.elapsed() >= IDLE) {
                if self.send(writer::idle().to_owned()).await.is_err() {
                    return;
                }
                said_something = Some(Instant::now());
            }
            let silent = said_something.map_or(IDLE, |at| at.elapsed());
            let pause = pause.min(IDLE.saturating_sub(silent));
            tokio::select! {
                () = self.sender.closed() => return,
                () = self.state.shutdown.cancelled() => return,
                read = heads.changed() => if read.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
            let newest = heads.borrow_and_update().clone();
            look = newest.is_none_or(|newest| self.is_behind(&newest));
        }
    }

    fn is_behind(&self, newest: &Heads) -> bool {
        let seen = Position {
            epoch: self.following.epoch,
            generation: self.following.after,
        };
        newest.concern(self.node, &self.feed, seen)
    }

    /// Sends what is new.
    async fn send_changes(&mut self) -> Result<Looked, Ended> {
        let lines = match self.load().await {
            Ok(lines) => lines,
            Err(Error::Store(error)) if error.is_retryable() => return Ok(Looked::Unavailable),
            Err(error) => {
                tracing::warn!(feed = %self.feed, %error, "a feed's stream ends");
                return Err(Ended);
            }
        };
        let Some((lines, position)) = lines else {
            return Ok(Looked::Nothing);
        };
        for line in lines {
            self.send(line).await?;
        }
        self.following = Following {
            epoch: position.epoch,
            after: position.generation,
        };
        Ok(Looked::Sent)
    }

    async fn load(&self) -> Result<Option<(Vec<String>, Position)>, Error> {
        let mut tx = SystemTx::begin(&self.state.pools).await?;
        guard::check(&mut tx).await?;
        if !node_identity::is_welcome(&mut tx, self.node).await? {
            return Err(Error::Denied(self.node.to_string()));
        }
        let feeds = [self.feed.clone()];
        let newest = feed::positions(&mut tx, &feeds).await?;
        let newest = newest.get(&self.feed).copied().unwrap_or_default();
        let same =
            newest.epoch == self.following.epoch && newest.generation == self.following.after;
        if same && newest.generation > Generation(0) {
            return Ok(None);
        }
        let changes = feed::changes(&mut tx, &self.feed, self.following).await?;
        // Shown meanwhile, it has kept a new epoch from beginning.
        guard::check(&mut tx).await?;
        let position = changes.head.position;
        let values = secrets::resolve(&mut tx, &self.state.secrets, &changes.secrets).await?;
        tx.commit().await?;
        let signer = &self.state.keys.signer;
        let lines = stream::lines(signer, &self.feed, changes, values)
            .map_err(|error| Error::Malformed(error.to_string()))?;
        Ok(Some((lines, position)))
    }

    async fn send(&self, line: String) -> Result<(), Ended> {
        self.sender.send(Ok(line.into())).await.map_err(|_| Ended)
    }
}
