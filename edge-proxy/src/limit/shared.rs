//! What edges count together: a bucket for each key in Redis, of which leases are fetched in the background. No request
//! waits for it; while it is away each edge goes by its own share.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use futures::future::join_all;
use prometheus::IntGauge;
use redis::{RedisError, Script, aio::MultiplexedConnection};
use redis_link::Link;
use tokio::sync::mpsc;

use super::{
    Leases,
    lease::{Ask, Grant},
    local::RateLimit,
};
use crate::metrics::Metrics;

/// Redis is waited for no longer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Asks that wait; more are given up, and the next request of their key asks again.
const WAITING: usize = 8_192;
/// Asks that are under way at once.
const AT_ONCE: usize = 512;

/// The address in `[limit] redis` is none.
#[derive(Debug, thiserror::Error)]
#[error("limit.redis is no address of a Redis (redis://host:6379 or unix:///path): {0}")]
pub struct InvalidUrl(#[from] RedisError);

/// A key whose lease runs out.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) tag: u64,
    pub(super) limit: Arc<RateLimit>,
    /// In Redis.
    pub(super) name: String,
    pub(super) ask: Ask,
    pub(super) edges: NonZeroU32,
}

/// The way to Redis.
#[derive(Debug)]
pub struct Shared {
    link: Arc<Link>,
    wanted: mpsc::Sender<Wanted>,
}

/// What fetches leases.
#[derive(Debug)]
pub struct Worker {
    link: Arc<Link>,
    wanted: mpsc::Receiver<Wanted>,
    script: Script,
}

impl Shared {
    /// To a Redis at this address; the worker has to be run.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(url: &str, metrics: &Metrics) -> Result<(Self, Worker), InvalidUrl> {
        let degraded = metrics.limit_degraded();
        degraded.set(1);
        let link = Link::new(url, move |change| tell(change, &degraded))?;
        let (wanted, waiting) = mpsc::channel(WAITING);
        let worker = Worker {
            link: Arc::clone(&link),
            wanted: waiting,
            script: Script::new(include_str!("lease.lua")),
        };
        Ok((Self { link, wanted }, worker))
    }

    /// Whether this edge goes by its share.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.link.is_away()
    }

    /// False when too many wait already.
    pub(super) fn ask(&self, wanted: Wanted) -> bool {
        self.wanted.try_send(wanted).is_ok()
    }
}

fn tell(change: Result<(), &redis_link::Error>, degraded: &IntGauge) {
    match change {
        Ok(()) => {
            tracing::info!("edges count rate limits together, in Redis");
            degraded.set(0);
        }
        Err(error) => {
            tracing::warn!(%error, "Redis can't be used: this edge lets its share of each rate limit through");
            degraded.set(1);
        }
    }
}

impl Worker {
    /// Fetches leases for as long as the edge lives.
    pub async fn run(self, leases: Arc<Leases>, metrics: Arc<Metrics>) {
        let Self {
            link,
            mut wanted,
            script,
        } = self;
        link.connect().await;
        let fetching = async {
            let mut batch = Vec::with_capacity(AT_ONCE);
            while wanted.recv_many(&mut batch, AT_ONCE).await > 0 {
                let fetched = batch.drain(..);
                let fetched =
                    fetched.map(|wanted| fetch(&link, &script, &leases, &metrics, wanted));
                join_all(fetched).await;
            }
        };
        tokio::select! {
            () = fetching => {}
            () = Arc::clone(&link).keep() => {}
        }
    }
}

async fn fetch(link: &Link, script: &Script, leases: &Leases, metrics: &Metrics, wanted: Wanted) {
    let Wanted {
        tag,
        limit,
        name,
        ask,
        edges,
    } = wanted;
    let micros = limit.window().as_secs_f64() * 1e6;
    let mut call = script.key(name);
    call.arg(micros / f64::from(limit.limit().get()))
        .arg(limit.limit().get())
        .arg(ask.spent)
        .arg(ask.want)
        .arg(edges.get());
    let answer: Option<(u32, u64, u32)> = link
        .ask(PATIENCE, |mut via: MultiplexedConnection| async move {
            call.invoke_async(&mut via).await
        })
        .await;
    let Some((tokens, wait, remaining)) = answer else {
        metrics.lease("lost");
        leases.lost(tag, ask);
        return;
    };
    metrics.lease(if tokens > 0 { "granted" } else { "refused" });
    let grant = Grant {
        tokens,
        wait,
        remaining,
    };
    leases.granted(tag, limit.window(), grant);
}
