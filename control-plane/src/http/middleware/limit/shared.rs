//! Counters that replicas share, in Redis: one script per request, and never a reason to fail one. A Redis
//! that is away or slow is left at once, and tried again in the background.

use std::{
    num::NonZeroU32,
    sync::{Arc, LazyLock},
    time::Duration,
};

use prometheus::{IntCounter, IntGauge};
use redis::{RedisError, Script, aio::MultiplexedConnection};
use redis_link::Link;
use secrecy::ExposeSecret as _;
use tokio_util::task::AbortOnDropHandle;

use super::{Account, Refused, Spent};
use crate::config;

/// A request waits for Redis no longer.
const PATIENCE: Duration = Duration::from_millis(100);
const MINUTE_MICROS: u32 = 60_000_000;

/// The address in `[redis] url` is none.
#[derive(Debug, thiserror::Error)]
#[error("redis.url is no address of a Redis (redis://host:6379 or unix:///path): {0}")]
pub struct InvalidUrl(#[from] RedisError);

/// Counters in Redis.
pub(super) struct Shared {
    link: Arc<Link>,
    script: Script,
    _keeper: AbortOnDropHandle<()>,
}

impl Shared {
    /// Tries once to connect before it returns, so that a replica that starts counts with the others.
    pub(super) async fn connect(config: &config::Redis) -> Result<Self, InvalidUrl> {
        let link = Link::new(config.url.expose_secret(), report)?;
        link.connect().await;
        let keeper = tokio::spawn(Arc::clone(&link).keep());
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
        let mut call = self.script.key(account.to_string());
        call.arg((MINUTE_MICROS / quota).max(1)).arg(quota.get());
        let ask = |mut via: MultiplexedConnection| async move { call.invoke_async(&mut via).await };
        let answer = self.link.ask(PATIENCE, ask).await;
        if answer.is_none() {
            FALLBACKS.inc();
        }
        answer.map(|answer| read(answer, quota))
    }

    /// Whether Redis can't be used now.
    pub(super) fn is_away(&self) -> bool {
        self.link.is_away()
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

fn report(change: Result<(), &redis_link::Error>) {
    match change {
        Ok(()) => {
            tracing::info!("replicas count requests together, in Redis");
            UP.set(1);
        }
        Err(error) => {
            tracing::warn!(%error, "Redis can't be used: this replica counts requests alone");
            UP.set(0);
        }
    }
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
