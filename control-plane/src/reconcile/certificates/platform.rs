//! Certificates of the platform's own domain, from the internal CA: one wildcard, renewed when half
//! of its life is left.

use std::sync::Arc;

use crate::{
    State, ca,
    secrets::Label,
    store::{certificate, tx::SystemTx},
};

use super::super::Error;

/// Makes the wildcard certificate, or a newer one before it expires.
pub(in crate::reconcile) async fn ensure(state: &State) -> Result<(), Error> {
    let names = vec![format!("*.{}", state.config.platform_domain)];
    let mut tx = SystemTx::begin(&state.pools).await?;
    let stored = certificate::lock_internal(&mut tx, &names, ca::SERVER_RENEWAL).await?;
    if stored.as_ref().is_some_and(|stored| !stored.due) {
        return Ok(());
    }
    let authority = Arc::clone(&state.keys.authority);
    let issued = authority.issue_server(&names)?;
    let (id, version) = certificate::next(stored.as_ref());
    let label = Label::certificate(id, version);
    let sealed = state
        .secrets
        .seal(&label, issued.key_pem.as_bytes())
        .await?;
    let new = certificate::New {
        id,
        version,
        names: &names,
        chain_pem: &issued.chain_pem,
        key: &sealed,
        not_after: issued.not_after,
    };
    certificate::upsert(&mut tx, &new).await?;
    Ok(tx.commit().await?)
}
