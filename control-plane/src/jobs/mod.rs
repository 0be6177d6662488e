//! Background jobs: one shot, retryable, inserted in the transaction that makes them necessary. The
//! attempt's number fences: a holder that was overtaken can neither end nor fail the job.

mod registry;

pub use registry::{DELETE_IMAGES, DeleteImages};

use std::time::Duration;

use uuid::Uuid;

use crate::{
    State,
    store::{self, job, tx::SystemTx},
    waker::Topic,
};

/// A job's holder has this long; then it counts as dead.
const LIFETIME: Duration = Duration::from_secs(120);

/// Without a wake-up the queue is looked at this often.
const POLL: Duration = Duration::from_secs(5);

const BACKOFF_MAX: Duration = Duration::from_secs(900);

/// Works on jobs until the replica is to end; one at a time, as replicas share the work.
pub async fn run(state: State) {
    let holder = Uuid::now_v7();
    let mut wakes = state.waker.subscribe(Topic::Jobs);
    loop {
        let worked = work(&state, holder).await;
        match worked {
            Ok(true) if !state.leaving.is_cancelled() => continue,
            Ok(_) => {}
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "jobs wait for the database");
            }
            Err(error) => tracing::error!(%error, "the queue of jobs failed"),
        }
        tokio::select! {
            () = state.leaving.cancelled() => return,
            woken = wakes.changed() => if woken.is_err() { return },
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// One job; whether there was one.
async fn work(state: &State, holder: Uuid) -> Result<bool, store::Error> {
    let mut tx = SystemTx::begin(&state.pools).await?;
    let Some(claim) = job::claim(&mut tx, holder, LIFETIME).await? else {
        return Ok(false);
    };
    tx.commit().await?;
    let result = tokio::time::timeout(LIFETIME / 2, run_job(state, &claim)).await;
    let result = result.unwrap_or_else(|_| Err(anyhow::anyhow!("it took longer than allowed")));
    let mut tx = SystemTx::begin(&state.pools).await?;
    match result {
        Ok(()) => job::complete(&mut tx, &claim).await?,
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(job = %claim.id, kind = claim.kind, attempt = claim.attempt, error, "a job failed");
            job::fail(&mut tx, &claim, &error, backoff(claim.attempt)).await?
        }
    };
    tx.commit().await?;
    state.waker.wake(Topic::Workflows);
    Ok(true)
}

async fn run_job(state: &State, claim: &job::Claim) -> anyhow::Result<()> {
    match claim.kind.as_str() {
        DELETE_IMAGES => registry::delete_images(state, &claim.payload).await,
        other => anyhow::bail!("this version knows no job \"{other}\""),
    }
}

/// 2 s, doubling, at most 15 min.
fn backoff(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.clamp(1, 16)).unwrap_or(16);
    Duration::from_secs(1 << doublings).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_quarter_of_an_hour() {
        assert_eq!(backoff(1), Duration::from_secs(2));
        assert_eq!(backoff(3), Duration::from_secs(8));
        assert_eq!(backoff(10), BACKOFF_MAX);
        assert_eq!(backoff(i32::MAX), BACKOFF_MAX);
    }
}
