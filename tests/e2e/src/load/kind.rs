//! The five kinds of requests, and the connections they share.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use super::{Outcome, Record, now};
use crate::edge::{Edge, Sender, Version};

const LIMIT: Duration = Duration::from_secs(10);
const MIB: usize = 1 << 20;

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// GET over HTTP/1.1, connections kept.
    Get1,
    /// GET over HTTP/2, one connection for all.
    Get2,
    /// POST of 1 MiB over HTTP/1.1; the answer says how much arrived.
    Post1Mib,
    /// An answer that takes 20 s.
    Stream20s,
    /// Echoes for 20 s.
    WebSocket,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Get1,
        Self::Get2,
        Self::Post1Mib,
        Self::Stream20s,
        Self::WebSocket,
    ];
}

/// Connections of one kind to one edge. A connection that its peer has closed is left, as a browser does.
#[derive(Clone)]
pub(super) struct Pool {
    edge: Arc<Edge>,
    kind: Kind,
    idle: Arc<Mutex<Vec<Sender>>>,
}

impl Pool {
    pub(super) fn new(edge: Arc<Edge>, kind: Kind) -> Self {
        Self {
            edge,
            kind,
            idle: Arc::default(),
        }
    }

    pub(super) async fn request(self, stopped: watch::Receiver<bool>) -> Record {
        let (start, begun) = now();
        let outcome = match Box::pin(self.attempt(stopped)).await {
            Ok(()) => Outcome::Ok,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        Record {
            kind: self.kind,
            edge: self.edge.address,
            begun,
            took: start.elapsed(),
            outcome,
        }
    }

    async fn attempt(&self, stopped: watch::Receiver<bool>) -> Result<()> {
        match self.kind {
            Kind::Get1 => limited(self.get(Version::Http1)).await,
            Kind::Get2 => limited(self.get(Version::Http2)).await,
            Kind::Post1Mib => limited(self.post()).await,
            Kind::Stream20s => self.stream().await,
            Kind::WebSocket => Box::pin(self.websocket(stopped)).await,
        }
    }

    async fn get(&self, version: Version) -> Result<()> {
        let mut sender = self.take(version).await?;
        let answer = match &mut sender {
            // HTTP/2: others may use the connection at the same time.
            Sender::Http2(shared) => {
                let mut own = Sender::Http2(shared.clone());
                self.idle.lock().await.push(sender);
                return whole(own.send(self.edge.get(version, "/")).await?)
                    .await
                    .map(|_| ());
            }
            Sender::Http1(_) => sender.send(self.edge.get(version, "/")).await?,
        };
        whole(answer).await?;
        self.give_back(sender).await;
        Ok(())
    }

    async fn post(&self) -> Result<()> {
        let mut sender = self.take(Version::Http1).await?;
        let request = self.edge.request(
            Version::Http1,
            "POST",
            "/echo",
            Bytes::from(vec![b'x'; MIB]),
        );
        let body = whole(sender.send(request).await?).await?;
        let text = String::from_utf8_lossy(&body);
        ensure!(
            text.contains(&MIB.to_string()),
            "the application says that it got {text:?}"
        );
        self.give_back(sender).await;
        Ok(())
    }

    async fn stream(&self) -> Result<()> {
        let mut sender =
            tokio::time::timeout(LIMIT, Sender::open(&self.edge, Version::Http1)).await??;
        let answer =
            limited(sender.send(self.edge.get(Version::Http1, "/stream?seconds=20"))).await?;
        ensure!(
            answer.status() == 200,
            "status {} from {:?}",
            answer.status(),
            answer.headers().get("x-railhead-error")
        );
        let mut body = answer.into_body();
        let mut last = Bytes::new();
        while let Some(frame) = tokio::time::timeout(LIMIT, body.frame())
            .await
            .context("no byte for 10 s")?
        {
            if let Ok(data) = frame.context("cut in mid-stream")?.into_data() {
                last = data;
            }
        }
        ensure!(
            last.ends_with(b"end\n"),
            "the stream ended early, after {last:?}"
        );
        Ok(())
    }

    async fn websocket(&self, mut stopped: watch::Receiver<bool>) -> Result<()> {
        let stream = tokio::time::timeout(LIMIT, self.edge.connect(Version::Http1)).await??;
        let url = format!("wss://{}/ws", self.edge.host);
        let (mut socket, _) =
            limited(async { Ok(Box::pin(tokio_tungstenite::client_async(url, stream)).await?) })
                .await?;
        for number in 0..40 {
            if *stopped.borrow() {
                break;
            }
            let text = format!("message {number}");
            if let Err(error) = socket.send(Message::text(text.clone())).await {
                // The close frame may be waiting to be read.
                return match socket.next().await {
                    Some(Ok(Message::Close(frame))) => {
                        accepted_close(frame.map(|frame| frame.code))
                    }
                    _ => Err(error).context("sending"),
                };
            }
            match tokio::time::timeout(LIMIT, socket.next())
                .await
                .context("no echo within 10 s")?
            {
                Some(Ok(Message::Text(echo))) if echo.as_str() == text => {}
                Some(Ok(Message::Close(frame))) => {
                    return accepted_close(frame.map(|frame| frame.code));
                }
                other => bail!("instead of an echo: {other:?}"),
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        }
        socket.close(None).await.context("closing")?;
        Ok(())
    }

    async fn take(&self, version: Version) -> Result<Sender> {
        let mut idle = self.idle.lock().await;
        while let Some(mut sender) = idle.pop() {
            if !sender.is_closed()
                && tokio::time::timeout(LIMIT, sender.ready())
                    .await
                    .is_ok_and(|ready| ready.is_ok())
            {
                return Ok(sender);
            }
        }
        if version == Version::Http1 {
            drop(idle);
        }
        Sender::open(&self.edge, version).await
    }

    async fn give_back(&self, mut sender: Sender) {
        if sender.ready().await.is_ok() {
            self.idle.lock().await.push(sender);
        }
    }
}

async fn limited<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(LIMIT, work)
        .await
        .context("no whole answer within 10 s")?
}

async fn whole(answer: http::Response<hyper::body::Incoming>) -> Result<Bytes> {
    let status = answer.status();
    let by_edge = answer.headers().get("x-railhead-error").cloned();
    let body = answer
        .into_body()
        .collect()
        .await
        .context("a short body")?
        .to_bytes();
    ensure!(
        by_edge.is_none() && status.is_success(),
        "status {status}, by the edge: {by_edge:?}"
    );
    Ok(body)
}

fn accepted_close(code: Option<CloseCode>) -> Result<()> {
    match code {
        Some(CloseCode::Away | CloseCode::Restart) => Ok(()),
        other => bail!("the WebSocket ended with {other:?}"),
    }
}
