//! Waiting for a state, never for a time.

use std::time::{Duration, Instant};

/// Asks until `probe` gives a value; panics with the last reason when `limit` has passed.
pub async fn until<T, F>(what: &str, limit: Duration, probe: impl FnMut() -> F) -> T
where
    F: Future<Output = anyhow::Result<T>>,
{
    match outcome(limit, probe).await {
        Ok(value) => value,
        Err(reason) => panic!("{what}: not within {limit:?}: {reason:#}"),
    }
}

/// Asks until `probe` gives a value; the last reason when `limit` has passed.
pub async fn outcome<T, F>(limit: Duration, mut probe: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= deadline => return Err(reason),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
