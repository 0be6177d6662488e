//! Counters that replicas share, in Redis: one script per request, and never a reason to fail one. A Redis
//! that is away or slow is left at once, and tried again in the background.

use std::{
    num::NonZeroU32,
    sync::{Arc, LazyLock},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use prometheus::{IntCounter, IntGauge};
use redis::{Client, RedisError, Script, aio::MultiplexedConnection};
use secrecy::ExposeSecret as _;
use tokio::{sync::Notify, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Account, Refused, Spent};
use crate::config;

/// A request waits for Redis no longer.
const PATIENCE: Duration = Duration::from_millis(100);
const CONNECT: Duration = Duration::from_secs(1);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_secs(1);
const MINUTE_MICROS: u32 = 60_000_000;

/// The address in `[redis] url` is none.
#[derive(Debug, thiserror::Error)]
#[error("redis.url is no address of a Redis (redis://host:6379 or unix:///path): {0}")]
pub struct InvalidUrl(#[from] RedisError);

/// Why Redis is not asked.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("it did not answer in time")]
    Slow,
    #[error(transparent)]
    Redis(#[from] RedisError),
}

/// Counters in Redis.
pub(super) struct Shared {
    link: Arc<Link>,
    script: Script,
    _keeper: AbortOnDropHandle<()>,
}

/// The connection, while there is one that works.
#[derive(Default)]
struct Link {
    connection: ArcSwapOption<MultiplexedConnection>,
    lost: Notify,
}

impl Shared {
    /// Tries once to connect before it returns, so that a replica that starts counts with the others.
    pub(super) async fn connect(config: &config::Redis) -> Result<Self, InvalidUrl> {
        let client = Client::open(config.url.expose_secret())?;
        let link = Arc::new(Link::default());
        link.take(connect(&client).await);
        let keeper = tokio::spawn(Arc::clone(&link).keep(client));
        Ok(Self {
            link,
            script: Script::new(include_str!("admit.lua")),
            _keeper: AbortOnDropHandle::new(keeper),
        })
    }

    /// Counts a request; none when Redis can't say.
    pub(super) async fn admit(
        &self,
        account: &Account,
        quota: NonZeroU32,
    ) -> Option<Result<Spent, Refused>> {
        let connection = self.link.connection.load_full();
        let answer = match &connection {
            Some(connection) => self.ask(connection, account, quota).await,
            None => None,
        };
        if answer.is_none() {
            FALLBACKS.inc();
        }
        answer
    }

    /// Whether Redis can't be used now.
    pub(super) fn is_away(&self) -> bool {
        self.link.connection.load().is_none()
    }

    async fn ask(
        &self,
        connection: &Arc<MultiplexedConnection>,
        account: &Account,
        quota: NonZeroU32,
    ) -> Option<Result<Spent, Refused>> {
        let mut call = self.script.key(account.to_string());
        call.arg((MINUTE_MICROS / quota).max(1)).arg(quota.get());
        let mut via = MultiplexedConnection::clone(connection);
        let answer = timeout(PATIENCE, call.invoke_async(&mut via)).await;
        match answer
            .map_err(|_| Error::Slow)
            .and_then(|answer| Ok(answer?))
        {
            Ok(answer) => Some(read(answer, quota)),
            Err(error) => {
                self.link.lose(connection, &error);
                None
            }
        }
    }
}

/// What the script says: whether, how many remain, and how many microseconds to wait.
fn read(
    (admitted, remaining, micros): (bool, u32, u64),
    quota: NonZeroU32,
) -> Result<Spent, Refused> {
    let time = Duration::from_micros(micros);
    match admitted {
        true => Ok(Spent {
            quota,
            remaining,
            reset: time,
        }),
        false => Err(Refused { quota, wait: time }),
    }
}

impl Link {
    /// Connects again whenever the connection is lost, for as long as the replica lives.
    async fn keep(self: Arc<Self>, client: Client) {
        loop {
            if self.connection.load().is_some() {
                self.lost.notified().await;
            }
            tokio::time::sleep(RETRY).await;
            self.take(connect(&client).await);
        }
    }

    fn take(&self, attempt: Result<MultiplexedConnection, Error>) {
        match attempt {
            Ok(connection) => {
                tracing::info!("replicas count requests together, in Redis");
                UP.set(1);
                self.connection.store(Some(Arc::new(connection)));
            }
            // Said once, not at each attempt.
            Err(error) if UP.get() != 0 => report(&error),
            Err(_) => {}
        }
    }

    /// The first request that finds it broken says so.
    fn lose(&self, broken: &Arc<MultiplexedConnection>, error: &Error) {
        let before = self.connection.compare_and_swap(broken, None);
        if before.as_ref().is_some_and(|now| Arc::ptr_eq(now, broken)) {
            report(error);
            self.lost.notify_one();
        }
    }
}

fn report(error: &Error) {
    tracing::warn!(%error, "Redis can't be used: this replica counts requests alone");
    UP.set(0);
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, Error> {
    let answers = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(connection)
    };
    timeout(CONNECT, answers).await.unwrap_or(Err(Error::Slow))
}

/// 1 until the contrary is known, so that the first failure is told.
static UP: LazyLock<IntGauge> = LazyLock::new(|| {
    #[allow(clippy::expect_used)]
    let gauge = IntGauge::new(
        "railhead_rate_limit_redis_up",
        "Whether Redis answers, so that replicas count requests together.",
    )
    .expect("the name above is well-formed");
    gauge.set(1);
    register(Box::new(gauge.clone()));
    gauge
});

static FALLBACKS: LazyLock<IntCounter> = LazyLock::new(|| {
    #[allow(clippy::expect_used)]
    let counter = IntCounter::new(
        "railhead_rate_limit_fallbacks_total",
        "Requests that this replica counted alone, because Redis did not answer.",
    )
    .expect("the name above is well-formed");
    register(Box::new(counter.clone()));
    counter
});

fn register(collector: Box<dyn prometheus::core::Collector>) {
    if let Err(error) = telemetry::metrics::registry().register(collector) {
        tracing::error!(%error, "the metrics of rate limits are not served");
    }
}
