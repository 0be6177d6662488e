//! `GET /node/v1/desired`: a feed as a stream of NDJSON frames. Cold start, reconnect and resync are
//! this one path: everything since the position that the reader names, then what comes.

use std::time::Duration;

use axum::{
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
use protocol::feed::{Commit, FeedName, writer};
use serde::Deserialize;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{Error, Node, guard};
use crate::{
    State,
    feed::{secrets, stream},
    store::{
        feed::{self, Following},
        node_identity,
        tx::SystemTx,
    },
    waker::Topic,
};

const IDLE: Duration = Duration::from_secs(10);

/// Without a wake-up the feed is looked at this often.
const POLL: Duration = Duration::from_secs(1);

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
    node: Node,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    if !node.may_follow(&wanted.feed) {
        return Err(Error::ForeignFeed(wanted.feed.to_string()));
    }
    guard::examine(&state, &node, &shown(&headers)?).await?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let stream = Stream {
        state,
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
    node: NodeId,
    feed: FeedName,
    following: Following,
    sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
}

/// The reader has gone, or may have nothing more.
struct Ended;

impl Stream {
    async fn run(mut self) {
        let mut wakes = self.state.waker.subscribe(Topic::Feeds);
        // A reader that has everything hears that at once: its connection works.
        let mut said_something = None;
        loop {
            match self.send_changes().await {
                Ok(true) => said_something = Some(Instant::now()),
                Ok(false) => {}
                Err(Ended) => return,
            }
            if said_something.is_none_or(|at| at.elapsed() >= IDLE) {
                if self.send(writer::idle().to_owned()).await.is_err() {
                    return;
                }
                said_something = Some(Instant::now());
            }
            tokio::select! {
                () = self.sender.closed() => return,
                () = self.state.shutdown.cancelled() => return,
                woken = wakes.changed() => if woken.is_err() { return },
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Sends what is new; whether there was anything. While the database is away nothing is new.
    async fn send_changes(&mut self) -> Result<bool, Ended> {
        let lines = match self.load().await {
            Ok(lines) => lines,
            Err(Error::Store(error)) if error.is_retryable() => return Ok(false),
            Err(error) => {
                tracing::warn!(feed = %self.feed, %error, "a feed's stream ends");
                return Err(Ended);
            }
        };
        let Some((lines, position)) = lines else {
            return Ok(false);
        };
        for line in lines {
            self.send(line).await?;
        }
        self.following = Following {
            epoch: position.epoch,
            after: position.generation,
        };
        Ok(true)
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
        // Shown meanwhile, it has kept a new epoch from beginning.
        guard::check(&mut tx).await?;
