//! From a bearer token to an actor: one look-up, cached for at most a second, so that ending a
//! session or revoking a token ends it at once (here) or within that second (other replicas).

use std::time::Duration;

use moka::future::Cache;

use crate::store::{self, Pools, tx::SystemTx};

use super::{
    Actor, Credential,
    token::{Kind, Token, TokenHash},
};

const CACHE_FOR: Duration = Duration::from_secs(1);
const CACHE_ENTRIES: u64 = 10_000;

/// Why nobody was recognised.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token is malformed, unknown, expired, ended or revoked.
    #[error("the token is not valid (any more); sign in again or make a new one")]
    Invalid,
    /// The database can't say.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Recognises bearer tokens; clones share the cache.
#[derive(Clone)]
pub struct Sessions {
    pools: Pools,
    cache: Cache<TokenHash, Actor>,
}

impl Sessions {
    /// With an empty cache.
    #[must_use]
    pub fn new(pools: Pools) -> Self {
        let cache = Cache::builder()
            .max_capacity(CACHE_ENTRIES)
            .time_to_live(CACHE_FOR)
            .build();
        Self { pools, cache }
    }

    /// Who holds this token.
    ///
    /// # Errors
    /// When the token is not valid, or the database can't be reached.
    pub async fn authenticate(&self, bearer: &str) -> Result<Actor, Error> {
        let token = Token::parse(bearer).ok_or(Error::Invalid)?;
        let hash = token.hash();
        if let Some(actor) = self.cache.get(&hash).await {
            return Ok(actor);
        }
        let mut tx = SystemTx::begin(&self.pools).await?;
        let actor = match token.kind() {
            Kind::Session => store::session::find_actor(&mut tx, &hash).await?,
            Kind::ApiToken => store::api_token::find_actor(&mut tx, &hash).await?,
        };
        tx.commit().await?;
        let actor = actor.ok_or(Error::Invalid)?;
        self.cache.insert(hash, actor.clone()).await;
        Ok(actor)
    }

    /// Whether a credential that was good is good still: for answers that go on for long.
    ///
    /// # Errors
    /// When it is not, or the database can't be reached.
    pub async fn recheck(&self, actor: &Actor) -> Result<(), Error> {
        let mut tx = SystemTx::begin(&self.pools).await?;
        let good = match actor.credential {
            Credential::Session(id) => store::session::is_good(&mut tx, id).await?,
            Credential::ApiToken { id, .. } => store::api_token::is_good(&mut tx, id).await?,
        };
        if good { Ok(()) } else { Err(Error::Invalid) }
    }

    /// Forgets everybody: something about access changed.
    pub fn forget(&self) {
        self.cache.invalidate_all();
    }
}
