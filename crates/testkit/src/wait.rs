//! Waiting for a state instead of for a time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const LOOK: Duration = Duration::from_millis(20);

/// Looks again and again until `condition` is true.
///
/// # Panics
/// When it is not after `deadline`.
pub async fn until(deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    until_some(deadline, async || condition().await.then_some(())).await;
}

/// Looks again and again until there is something, and answers it.
///
/// # Panics
/// When there is nothing after `deadline`.
pub async fn until_some<T>(deadline: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            Instant::now() < end,
            "what was waited for did not come within {deadline:?}"
        );
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_returns_as_soon_as_the_state_is_there() {
        let mut looks = 0;
        let began = Instant::now();
        let found = until_some(Duration::from_secs(60), async || {
            looks += 1;
            (looks == 3).then_some("it")
        })
        .await;
        assert_eq!(found, "it");
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn it_gives_up_at_the_deadline() {
        let local = tokio::task::LocalSet::new();
        let waiting = local.spawn_local(until(Duration::from_millis(50), async || false));
        let ended = local.run_until(waiting).await;
        assert!(ended.unwrap_err().is_panic());
    }
}
