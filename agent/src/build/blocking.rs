//! Work on a source's files: on a thread that may wait for the disk, as none of the runtime may.

use super::error::Error;

/// Waits for the work. It goes on when nobody waits any more.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::EndedEarly {
            doing: "work on the source",
            source,
        })?
}
