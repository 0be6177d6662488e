//! Tries a step of a build again while a part of the platform that it needs (build engine, registry, control
//! plane) is away. What [`Error::is_passing`] denies, all that is the user's, ends it at the first try.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};

use super::error::Error;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// Takes `step` until it succeeds, fails for good, or `patience` was spent on waiting; then the last error. `told`
/// hears of each failure that is followed by another try.
///
/// # Errors
/// Those of `step`.
pub async fn while_passing<T, F>(
    patience: Duration,
    step: impl FnMut() -> F,
    told: impl FnMut(&Error, Duration),
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let waits = ExponentialBuilder::new()
        .with_min_delay(FIRST)
        .with_max_delay(LONGEST)
        .without_max_times()
        .with_total_delay(Some(patience));
    step.retry(waits).when(Error::is_passing).notify(told).await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// How a step ended that fails so often, how often it was taken, and how long that took.
    async fn outcome(failures: u32, error: fn() -> Error) -> (Result<(), Error>, u32, Duration) {
        let (tries, told) = (Cell::new(0), Cell::new(0));
        let begun = tokio::time::Instant::now();
        let step = || async {
            tries.set(tries.get() + 1);
            if tries.get() <= failures {
                Err(error())
            } else {
                Ok(())
            }
        };
        let result = while_passing(PATIENCE, step, |_, _| told.set(told.get() + 1)).await;
        assert_eq!(told.get() + 1, tries.get(), "each further try is told");
        (result, tries.get(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_waited_for_but_not_for_ever() {
        let away = || Error::Engine("gone".into());
        let (result, tries, _) = outcome(5, away).await;
        assert!(result.is_ok());
        assert_eq!(tries, 6);

        let (result, tries, took) = outcome(u32::MAX, away).await;
        assert_eq!(result.unwrap_err().code(), "build_engine_failed");
        assert!((10..30).contains(&tries), "{tries}");
        assert!(took <= PATIENCE && took > PATIENCE / 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_the_user_s_is_tried_once() {
        let users = || Error::DockerfileFailed {
            what: "RUN false".into(),
        };
        let (result, tries, took) = outcome(u32::MAX, users).await;
        assert!(result.is_err());
        assert_eq!((tries, took), (1, Duration::ZERO));
    }
}
