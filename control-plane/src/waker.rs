//! Wake-ups between replicas: coalesced `NOTIFY` after commits, and a `LISTEN` that fans out. They
//! carry no data and may be lost: everything that waits for one also polls.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    PgPool,
    pool::PoolOptions,
    postgres::{PgConnectOptions, PgListener},
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::store::wake;

const CHANNEL: &str = "railhead";

/// At most 50 notifications a second: `NOTIFY` serializes commits of the whole database.
const PAUSE: Duration = Duration::from_millis(20);

/// After a lost connection.
const RETRY: Duration = Duration::from_secs(1);

/// A connection that nothing came from for this long may lead nowhere any more: another takes its place.
const SILENCE: Duration = Duration::from_secs(30);

/// So long a wake-up may take to be sent, and a connection to be made.
const PATIENCE: Duration = Duration::from_secs(5);

/// What may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A deployment, its build or its instances.
    Deployments,
    /// The scheduler is asked.
    Evaluations,
    /// Hostnames or endpoints.
    Routes,
    /// Which nodes there are, or where one is reached.
    Nodes,
    /// An instance is to go, or has gone.
    Instances,
    /// A feed has a new generation.
    Feeds,
    /// An organization's event stream.
    Events,
    /// A job is due.
    Jobs,
    /// A workflow can go on.
    Workflows,
    /// A hostname waits for a look at its DNS.
    Domains,
    /// A hostname needs a certificate, or its order can go on.
    Certificates,
}

impl Topic {
    const ALL: [Self; 11] = [
        Self::Deployments,
        Self::Evaluations,
        Self::Routes,
        Self::Nodes,
        Self::Instances,
        Self::Feeds,
        Self::Events,
        Self::Jobs,
        Self::Workflows,
        Self::Domains,
        Self::Certificates,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Deployments => "deployments",
            Self::Evaluations => "evaluations",
            Self::Routes => "routes",
            Self::Nodes => "nodes",
            Self::Instances => "instances",
            Self::Feeds => "feeds",
            Self::Events => "events",
            Self::Jobs => "jobs",
            Self::Workflows => "workflows",
            Self::Domains => "domains",
            Self::Certificates => "certificates",
        }
    }
}

/// Wakes whoever waits for a topic, on every replica.
#[derive(Clone)]
pub struct Waker(Arc<Shared>);

struct Shared {
    topics: Vec<(Topic, watch::Sender<()>)>,
    pending: Mutex<BTreeSet<Topic>>,
    due: Notify,
}

impl Default for Waker {
    fn default() -> Self {
        let topics = Topic::ALL.map(|topic| (topic, watch::channel(()).0));
        Self(Arc::new(Shared {
            topics: topics.into(),
            pending: Mutex::default(),
            due: Notify::new(),
        }))
    }
}

impl Waker {
    /// Call it after the commit.
    pub fn wake(&self, topic: Topic) {
        self.wake_here(topic);
        let mut pending = self
            .0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pending.insert(topic);
        drop(pending);
        self.0.due.notify_one();
    }

    /// Changes whenever the topic is woken.
    pub fn subscribe(&self, topic: Topic) -> watch::Receiver<()> {
        let (_, sender) = self
            .0
            .topics
            .iter()
            .find(|(known, _)| *known == topic)
            .expect("every topic has a channel");
        sender.subscribe()
    }

    fn wake_here(&self, topic: Topic) {
        for (_, sender) in self.0.topics.iter().filter(|(known, _)| *known == topic) {
            sender.send_replace(());
        }
    }

    fn wake_everything_here(&self) {
        Topic::ALL
            .into_iter()
            .for_each(|topic| self.wake_here(topic));
    }

    fn take_pending(&self) -> BTreeSet<Topic> {
        let mut pending = self
            .0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *pending)
    }

    /// Tells other replicas, and listens to them, until the shutdown.
    pub async fn run(self, database: PgConnectOptions, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.listen(database.clone()) => {}
            () = self.notify(database) => {}
        }
    }

    async fn listen(&self, database: PgConnectOptions) {
        loop {
            if let Err(error) = self.listen_once(database.clone()).await {
                tracing::debug!(%error, "listening for wake-ups was interrupted");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn listen_once(&self, database: PgConnectOptions) -> sqlx::Result<()> {
        let connecting = timeout(PATIENCE, listener(database));
        let mut listener = connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        // Whatever was said while nobody listened.
        self.wake_everything_here();
        while let Ok(heard) = timeout(SILENCE, listener.try_recv()).await {
            let Some(notification) = heard? else {
                break;
            };
            let words: Vec<&str> = notification.payload().split(',').collect();
            let woken = Topic::ALL.into_iter().filter(|t| words.contains(&t.word()));
            woken.for_each(|topic| self.wake_here(topic));
        }
        Ok(())
    }

    async fn notify(&self, database: PgConnectOptions) {
        loop {
            // One that has failed may lead nowhere: it is not used again.
            let pool = single(database.clone());
            while self.notify_once(&pool).await {
                tokio::time::sleep(PAUSE).await;
            }
            tracing::debug!("a wake-up was not sent; the others poll");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether the next wake-up that there was could be sent.
    async fn notify_once(&self, pool: &PgPool) -> bool {
        self.0.due.notified().await;
        let words: Vec<&str> = self.take_pending().into_iter().map(Topic::word).collect();
        let sent = timeout(PATIENCE, wake::notify(pool, CHANNEL, &words.join(","))).await;
        matches!(sent, Ok(Ok(())))
    }
}

fn single(database: PgConnectOptions) -> PgPool {
    PoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(database)
}

async fn listener(database: PgConnectOptions) -> sqlx::Result<PgListener> {
    let mut listener = PgListener::connect_with(&single(database)).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_up_reaches_only_its_topic_and_many_are_one() {
        let waker = Waker::default();
        let mut routes = waker.subscribe(Topic::Routes);
        let feeds = waker.subscribe(Topic::Feeds);
        waker.wake(Topic::Routes);
        waker.wake(Topic::Routes);
        routes.changed().await.unwrap();
        assert!(!routes.has_changed().unwrap());
        assert!(!feeds.has_changed().unwrap());
        assert_eq!(waker.take_pending(), BTreeSet::from([Topic::Routes]));
    }
}
