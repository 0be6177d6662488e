//! The platform's account at an authority: made once, sealed in the database, the same for every replica.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use zeroize::Zeroizing;

use super::{
    Authority, Error,
    authority::again,
    transport::{Patience, Transport},
};
use crate::{
    config,
    secrets::{Label, Sealer},
    store::{Pools, acme_account, tx::SystemTx},
};

/// Opens the account; makes it if there is none.
///
/// # Errors
/// When the authority can't be reached or refuses it, or it can't be stored.
pub async fn open(
    configured: &config::Authority,
    pools: &Pools,
    secrets: &Sealer,
) -> Result<Authority, Error> {
    let directory = configured.directory.as_str();
    let mut tx = SystemTx::begin(pools).await?;
    let stored = acme_account::find(&mut tx, directory).await?;
    drop(tx);
    let stored = match stored {
        Some(stored) => stored,
        None => make(configured, pools, secrets).await?,
    };
    let label = Label::acme_account(directory);
    let credentials = secrets.open(&label, &stored).await?;
    let credentials: AccountCredentials = serde_json::from_slice(&credentials)?;
    let patience = Patience::default();
    let builder =
        Account::builder_with_http(Box::new(Transport::new(configured, patience.clone())?));
    let opened = builder.from_credentials(credentials).await;
    Ok(Authority {
        config: configured.clone(),
        account: opened.map_err(|source| of(configured, source))?,
        patience,
        credentials: stored.ciphertext,
    })
}

/// Of two replicas that make one at once, both go on with that of the first.
async fn make(
    configured: &config::Authority,
    pools: &Pools,
    secrets: &Sealer,
) -> Result<crate::secrets::Sealed, Error> {
    let directory = configured.directory.as_str();
    let contact: Vec<&str> = configured.contact.iter().map(String::as_str).collect();
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let external = external_account(configured)?;
    let made = again(|| async {
        let transport = Transport::new(configured, Patience::default())?;
        let made = Account::builder_with_http(Box::new(transport))
            .create(&wanted, directory.to_owned(), external.as_ref())
            .await;
        made.map_err(|source| of(configured, source))
    });
    let (_, credentials) = made.await?;
    let credentials = Zeroizing::new(serde_json::to_vec(&credentials)?);
    let sealed = secrets
        .seal(&Label::acme_account(directory), &credentials)
        .await?;
    let mut tx = SystemTx::begin(pools).await?;
    let kept = acme_account::insert(&mut tx, directory, &sealed, configured.orders()).await?;
    tx.commit().await?;
    tracing::info!(
        authority = configured.name,
        "this platform has an account at a certificate authority now"
    );
    Ok(kept)
}

/// Its key is base64url, as authorities show it.
fn external_account(configured: &config::Authority) -> Result<Option<ExternalAccountKey>, Error> {
    let Some(external) = &configured.external_account else {
        return Ok(None);
    };
    let failed = |reason: String| Error::ExternalAccount {
        path: external.key_file.clone(),
        reason,
    };
    let text = std::fs::read_to_string(&external.key_file);
    let text = Zeroizing::new(text.map_err(|error| failed(error.to_string()))?);
    let key = BASE64_URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
    let key = Zeroizing::new(key.map_err(|error| failed(error.to_string()))?);
    Ok(Some(ExternalAccountKey::new(external.key_id.clone(), &key)))
}

fn of(configured: &config::Authority, source: instant_acme::Error) -> Error {
    Error::Authority {
        authority: configured.name.clone(),
        source,
    }
}
