//! Passwords: Argon2id on a bounded number of threads, so that a wave of sign-ins can't take the
//! machine, and with the same work for people that don't exist.

use std::sync::{Arc, LazyLock};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// OWASP's recommendation: 19 MiB, two passes, one lane.
static ARGON2: LazyLock<Argon2<'static>> = LazyLock::new(|| {
    let params = Params::new(19_456, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
});

/// Shortest password that is accepted.
pub const LENGTH_MIN: usize = 12;
/// Longest password that is accepted.
pub const LENGTH_MAX: usize = 1_024;

/// Why a password was not hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All permits are taken.
    #[error("too many sign-ins at once; try again in a second")]
    Busy,
    /// The library refused.
    #[error("can't hash a password: {0}")]
    Hash(argon2::password_hash::Error),
    /// The thread is gone.
    #[error("the thread that hashed a password ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Hashes and checks passwords; clones share the permits.
#[derive(Clone)]
pub struct Passwords {
    permits: Arc<Semaphore>,
    /// Checked when there is no such person, so that the answer takes as long.
    decoy: Arc<str>,
}

impl Passwords {
    /// With as many permits as half of the machine's cores.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn new() -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with_permits((cores / 2).max(1))
    }

    fn with_permits(permits: usize) -> Result<Self, Error> {
        Ok(Self {
            permits: Arc::new(Semaphore::new(permits)),
            decoy: hash(&SecretString::from("not anybody's password"))?.into(),
        })
    }

    /// The hash to store, as PHC string.
    ///
    /// # Errors
    /// When all permits are taken, or the library refuses.
    pub async fn hash(&self, password: SecretString) -> Result<String, Error> {
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| Error::Busy)?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            hash(&password)
        })
        .await?
    }

    /// Whether the password fits the stored hash; false, after as much work, when there is none.
    ///
    /// # Errors
    /// When all permits are taken.
    pub async fn verify(
        &self,
        password: SecretString,
        stored: Option<String>,
    ) -> Result<bool, Error> {
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| Error::Busy)?;
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy.to_string());
        let fits = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            ARGON2
                .verify_password(password.expose_secret().as_bytes(), stored.as_str())
                .is_ok()
        })
        .await?;
        Ok(fits && known)
    }
}

fn hash(password: &SecretString) -> Result<String, Error> {
    ARGON2
        .hash_password(password.expose_secret().as_bytes())
        .map(|hash| hash.to_string())
        .map_err(Error::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_right_password_fits_and_nothing_else_does() {
        let passwords = Passwords::with_permits(1).unwrap();
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let verify = |password: &str, stored: Option<&String>| {
            let (passwords, password) = (passwords.clone(), password.into());
            let stored = stored.cloned();
            async move { passwords.verify(password, stored).await.unwrap() }
        };
        assert!(verify("correct horse", Some(&stored)).await);
        assert!(!verify("battery staple", Some(&stored)).await);
        assert!(!verify("not anybody's password", None).await);
    }

    #[tokio::test]
    async fn beyond_the_permits_it_says_so_at_once() {
        let passwords = Passwords::with_permits(1).unwrap();
        let _taken = Arc::clone(&passwords.permits).try_acquire_owned().unwrap();
        assert!(matches!(
            passwords.verify("x".into(), None).await,
            Err(Error::Busy)
        ));
    }
}
