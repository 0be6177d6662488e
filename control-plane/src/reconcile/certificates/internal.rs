//! Hostnames whose certificate the platform's own authority issues: private names, and all where no other authority is
//! configured.

use chrono::Utc;

use super::super::{Context, Error, Turn};
use crate::{
    ca::SERVER_RENEWAL,
    secrets::Label,
    store::{
        domain_certificate::{self, Internal, Issuer, New},
        tx::SystemTx,
    },
    waker::Topic,
};

/// Hostnames of one turn.
const BATCH: i64 = 100;

pub(super) async fn issue(context: &Context) -> Result<(), Error> {
    let state = &context.state;
    let alone = state.authorities.in_order().is_empty();
    let mut tx = SystemTx::begin(&state.pools).await?;
    let platform_domain = &state.config.platform_domain;
    let due = domain_certificate::internal_due(&mut tx, alone, platform_domain, BATCH).await?;
    drop(tx);
    let mut turn = Turn::default();
    for one in due {
        turn.note(&one.hostname, issue_one(context, &one).await)?;
    }
    turn.end()
}

async fn issue_one(context: &Context, one: &Internal) -> Result<(), Error> {
    let state = &context.state;
    let issued = state
        .keys
        .authority
        .issue_server(std::slice::from_ref(&one.hostname))?;
    let mut tx = SystemTx::begin(&state.pools).await?;
    // Its owner may have uploaded one meanwhile.
    if !domain_certificate::lock(&mut tx, one.domain(), &["internal", "automatic"]).await? {
        return Ok(());
    }
    let (id, version) = domain_certificate::next(&mut tx, one.domain()).await?;
    let label = Label::certificate(id, version);
    let key = state
        .secrets
        .seal(&label, issued.key_pem.as_bytes())
        .await?;
    let new = New {
        domain: one.domain(),
        organization: one.organization(),
        id,
        version,
        issuer: &Issuer::Internal,
        chain_pem: &issued.chain_pem,
        key: &key,
        not_before: Utc::now(),
        not_after: issued.not_after,
        renew_at: Some(issued.not_after - SERVER_RENEWAL),
    };
    if domain_certificate::put(&mut tx, &new).await? {
        tx.commit().await?;
        state.waker.wake(Topic::Routes);
    }
    Ok(())
}
