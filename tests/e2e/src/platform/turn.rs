//! Whose turn it is: a test that kills or measures has a platform for itself, others share one. Platforms
//! are those of `RAILHEAD_TEST_PLATFORMS`, else the one that `./dev` means.

use std::{
    env,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::time::sleep;

/// Held by tests as long as they use the platform.
const LOCK: &str = "turn.lock";
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A platform that nobody takes away until this is dropped, or the process ends.
pub struct Turn {
    /// The platform's folder.
    pub dir: PathBuf,
    _lock: File,
}

/// What others may do with the platform meanwhile.
#[derive(Debug, Clone, Copy)]
enum Others {
    Wait,
    Share,
}

impl Turn {
    /// Whichever platform is free first, for this test alone.
    pub async fn alone() -> Result<Self> {
        Self::first_free(&platforms(), Others::Wait).await
    }

    /// The last platform, for this test alone: the one with the most control planes.
    pub async fn alone_on_the_last() -> Result<Self> {
        let platforms = platforms();
        let last = platforms.last().map(std::slice::from_ref);
        Self::first_free(last.unwrap_or_default(), Others::Wait).await
    }

    /// The first platform, beside others who do no harm.
    pub async fn beside_others() -> Result<Self> {
        let platforms = platforms();
        let first = platforms.get(..1).unwrap_or_default();
        Self::first_free(first, Others::Share).await
    }

    /// All of them: nobody else does anything.
    pub async fn of_all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for dir in platforms() {
            all.push(Self::first_free(&[dir], Others::Wait).await?);
        }
        Ok(all)
    }

    async fn first_free(platforms: &[PathBuf], others: Others) -> Result<Self> {
        loop {
            for dir in platforms {
                if let Some(lock) = lock(dir, others)? {
                    let dir = dir.clone();
                    return Ok(Self { dir, _lock: lock });
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

fn platforms() -> Vec<PathBuf> {
    let listed = env::var_os("RAILHEAD_TEST_PLATFORMS");
    let one = || match env::var_os("RAILHEAD_DEV_DIR") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.dev"),
    };
    listed.map_or_else(|| vec![one()], |all| env::split_paths(&all).collect())
}

/// `None` while somebody else has it.
fn lock(dir: &Path, others: Others) -> Result<Option<File>> {
    let path = dir.join(LOCK);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("opening {}: is the platform up (./dev up)?", path.display()))?;
    let locked = match others {
        Others::Wait => file.try_lock(),
        Others::Share => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_alone_gets_what_is_free_and_others_share_what_nobody_has_alone() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let platforms = [first.path().to_owned(), second.path().to_owned()];
        let take = |others| Turn::first_free(&platforms, others);

        let shared = [
            take(Others::Share).await.unwrap(),
            take(Others::Share).await.unwrap(),
        ];
        assert!(shared.iter().all(|turn| turn.dir == platforms[0]));
        let alone = take(Others::Wait).await.unwrap();
        assert_eq!(alone.dir, platforms[1]);
        assert!(lock(&platforms[0], Others::Wait).unwrap().is_none());
        assert!(lock(&platforms[1], Others::Share).unwrap().is_none());
        drop(shared);
        assert_eq!(take(Others::Wait).await.unwrap().dir, platforms[0]);
    }
}
