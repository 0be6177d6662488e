//! A build's log as it grows, over as many connections as it takes. The log is always served from
//! its first line, so after a reconnect the lines that were seen are passed over.

use std::time::Duration;

use api::{
    client::{Client, Error, with_query},
    deployment::Deployment,
    log::LogRecord,
};
use futures::StreamExt;
use tokio::sync::{
    mpsc::{self, Receiver, Sender},
    watch,
};

const REOPEN: Duration = Duration::from_secs(1);
/// Lines on their way to the terminal; beyond it the connection waits.
const BUFFERED: usize = 256;

/// A running tail; ended when dropped.
pub struct BuildLog {
    /// Lines and gaps, in order; closed at the end of the build's log.
    pub records: Receiver<LogRecord>,
    over: watch::Sender<bool>,
}

struct Tail {
    client: Client,
    path: String,
    seen: usize,
    records: Sender<LogRecord>,
    over: watch::Receiver<bool>,
}

impl BuildLog {
    /// Starts to follow.
    pub fn follow(client: &Client, deployment: &Deployment) -> Self {
        let (sender, records) = mpsc::channel(BUFFERED);
        let (over, is_over) = watch::channel(false);
        let path = format!("/v1/deployments/{}/logs", deployment.id);
        let tail = Tail {
            client: client.clone(),
            path,
            seen: 0,
            records: sender,
            over: is_over,
        };
        tokio::spawn(tail.run());
        Self { records, over }
    }

    /// No more lines will be written: the next end of the stream is the end.
    pub fn build_is_over(&self) {
        self.over.send_replace(true);
    }
}

impl Tail {
    async fn run(mut self) {
        loop {
            let was_over = *self.over.borrow();
            // A failure shows in the deployment itself, which is watched at the same time.
            let ended_well = self.read(!was_over).await.is_ok();
            if (was_over && ended_well) || self.records.is_closed() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(REOPEN) => {}
                () = self.records.closed() => return,
                changed = self.over.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn read(&mut self, follow: bool) -> Result<(), Error> {
        let path = with_query(&self.path, &[("follow", &follow.to_string())]);
        let mut stream = self.client.ndjson::<LogRecord>(&path).await?;
        let mut position = 0;
        while let Some(record) = stream.next().await {
            let record = record?;
            if matches!(record, LogRecord::Idle) {
                continue;
            }
            position += 1;
            if position > self.seen {
                self.seen = position;
                if self.records.send(record).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
