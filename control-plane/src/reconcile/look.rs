//! What every replica looks at for itself, again and again, for alerts: the last word of one that leads no more would
//! stand beside the leader's for ever.

use std::time::Duration;

use crate::store;

const PERIOD: Duration = Duration::from_secs(2);

/// Looks and shows; `forget`s what was shown while it can't look.
pub(super) async fn again_and_again<F>(what: &str, look: impl Fn() -> F, forget: impl Fn())
where
    F: Future<Output = Result<(), store::Error>>,
{
    loop {
        if let Err(error) = look().await {
            tracing::debug!(%error, "{what} is not known");
            forget();
        }
        tokio::time::sleep(PERIOD).await;
    }
}
