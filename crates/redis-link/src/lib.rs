//! A connection to a Redis that may be away. Whoever asks it something waits for a moment at most; one that is away, slow
//! or broken is left at once, and tried again in the background. What it could have said is for the asker to do without.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{Client, RedisError, RedisResult, aio::MultiplexedConnection};
use tokio::{sync::Notify, time::timeout};

const CONNECT: Duration = Duration::from_secs(1);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_secs(1);

/// Why Redis is not asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer came.
    #[error("it did not answer in time")]
    Slow,
    /// It answered otherwise, or not at all.
    #[error(transparent)]
    Redis(#[from] RedisError),
}

/// Is told of each change: that there is a connection, or why there is none any more.
type Told = Box<dyn Fn(Result<(), &Error>) + Send + Sync>;

/// The connection, while there is one that works.
pub struct Link {
    client: Client,
    connection: ArcSwapOption<MultiplexedConnection>,
    lost: Notify,
    /// The last that was told: that it can't be used.
    told_away: AtomicBool,
    told: Told,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.debug_struct("Link")
            .field("is_away", &self.is_away())
            .finish_non_exhaustive()
    }
}

impl Link {
    /// To a Redis at `redis://…` or `unix://…`. Nothing is connected yet.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(
        url: &str,
        told: impl Fn(Result<(), &Error>) + Send + Sync + 'static,
    ) -> Result<Arc<Self>, RedisError> {
        Ok(Arc::new(Self {
            client: Client::open(url)?,
            connection: ArcSwapOption::empty(),
            lost: Notify::new(),
            told_away: AtomicBool::new(false),
            told: Box::new(told),
        }))
    }

    /// Tries once to connect.
    pub async fn connect(&self) {
        match attempt(&self.client).await {
            Ok(connection) => {
                self.connection.store(Some(Arc::new(connection)));
                self.told_away.store(false, Ordering::Relaxed);
                (self.told)(Ok(()));
            }
            Err(error) => self.tell_once(&error),
        }
    }

    /// Connects again whenever the connection is lost, for as long as it is polled.
    pub async fn keep(self: Arc<Self>) {
        loop {
            if !self.is_away() {
                self.lost.notified().await;
            }
            tokio::time::sleep(RETRY).await;
            self.connect().await;
        }
    }

    /// Whether it can't be asked now.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.connection.load().is_none()
    }

    /// Asks, and waits no longer than `patience`; none when it can't say.
    pub async fn ask<T, F>(
        &self,
        patience: Duration,
        ask: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Option<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connection = self.connection.load_full()?;
        let via = MultiplexedConnection::clone(&connection);
        let answer = match timeout(patience, ask(via)).await {
            Ok(answer) => answer.map_err(Error::from),
            Err(_) => Err(Error::Slow),
        };
        answer
            .inspect_err(|error| self.lose(&connection, error))
            .ok()
    }

    /// The first that finds it broken says so.
    fn lose(&self, broken: &Arc<MultiplexedConnection>, error: &Error) {
        let before = self.connection.compare_and_swap(broken, None);
        if before.as_ref().is_some_and(|now| Arc::ptr_eq(now, broken)) {
            self.tell_once(error);
            self.lost.notify_one();
        }
    }

    /// Not at each attempt.
    fn tell_once(&self, error: &Error) {
        if !self.told_away.swap(true, Ordering::Relaxed) {
            (self.told)(Err(error));
        }
    }
}

async fn attempt(client: &Client) -> Result<MultiplexedConnection, Error> {
    let answers = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(connection)
    };
    timeout(CONNECT, answers).await.unwrap_or(Err(Error::Slow))
}
