//! Renewal: from a third of the certificate's life on, until it works. A failure changes nothing but
//! the log: the old certificate goes on being used, expired or not.

use std::time::Duration;

use chrono::Utc;
use protocol::join::{self, RenewRequest};

use super::{Credentials, Error, Identity, Store};
use crate::{backoff::Backoff, client::Client, writing::Writing};

/// How often the wall clock is asked whether it is time; a sleep of hours would miss its jumps.
const LOOK: Duration = Duration::from_secs(30);

/// Not sooner after a success: by a clock that is ahead, every certificate is due at once.
const REST: Duration = Duration::from_secs(10 * 60);

/// Renews for ever.
pub async fn keep_renewed(identity: Identity, store: Store, client: Client, writing: Writing) {
    let mut backoff = Backoff::default();
    loop {
        if Utc::now() < identity.credentials().validity.renew_at() {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let turn = writing.turn().await;
        let renewed = renew(&identity, &store, &client).await;
        drop(turn);
        match renewed {
            Ok(()) => {
                backoff.reset();
                tokio::time::sleep(REST).await;
            }
            Err(error) => {
                let not_after = identity.credentials().validity.not_after;
                tracing::warn!(%error, %not_after, "the node's certificate could not be renewed; the old one is used on");
                tokio::time::sleep(backoff.next_delay().max(LOOK / 10)).await;
            }
        }
    }
}

/// Asks for the next certificate of the same key and uses it.
pub(super) async fn renew(
    identity: &Identity,
    store: &Store,
    client: &Client,
) -> Result<(), Error> {
    let current = identity.credentials();
    let request = RenewRequest {
        csr: current.csr()?,
    };
    let renewed: join::Identity = client
        .post("/node/v1/renew", &request)
        .await
        .map_err(Error::Join)?;
    let renewed = Credentials::new(renewed, current.key.clone())?;
    if renewed.spiffe_id != current.spiffe_id {
        return Err(Error::Foreign("it has another SPIFFE id than before"));
    }
    if let Err(error) = store.save(&renewed.identity).await {
        // Else each further try would have another one issued.
        tracing::error!(%error, "the node's renewed certificate is used but not kept: after a restart it is renewed again");
    }
    tracing::info!(not_after = %renewed.validity.not_after, "the node's certificate is renewed");
    identity.replace(renewed);
    Ok(())
}
