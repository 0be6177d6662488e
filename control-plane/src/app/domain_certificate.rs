//! Certificates of one's own for one's own hostnames.

use api::{
    domain::{Domain, DomainKind, DomainTls, SetDomainCertificate},
    problem::Code,
};
use chrono::Utc;
use domain::id::DomainId;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    acme::chain::{self, Chain},
    secrets::Label,
    store::{
        self,
        domain_certificate::{Issuer, New},
        event::NewEvent,
        tx::Mutation,
    },
    waker::Topic,
};

use super::{Action, Context, Error, Resource, authorize};

/// Serves a hostname with this certificate from now on.
///
/// # Errors
/// When not allowed, the hostname is not proven yet or the platform's own, or the chain and the key are no pair for it.
pub async fn set(
    context: &Context,
    id: DomainId,
    request: SetDomainCertificate,
) -> Result<Domain, Error> {
    let grant = authorize(context, Action::DomainCertificateSet, Resource::Domain(id)).await?;
    let key = Zeroizing::new(request.key);
    let mut tx = grant.mutate(context).await?;
    let domain = own(&mut tx, id).await?;
    let chain = Chain::check(&request.chain, &key, &domain.hostname, Utc::now());
    let chain = chain.map_err(|error| refused(&error))?;
    let (certificate, version) = store::domain_certificate::next(&mut tx, id).await?;
    let label = Label::certificate(certificate, version);
    let sealed = context.state.secrets.seal(&label, key.as_bytes()).await?;
    let new = New {
        domain: id,
        organization: grant.organization,
        id: certificate,
        version,
        issuer: &Issuer::Uploaded,
        chain_pem: &chain.pem,
        key: &sealed,
        not_before: chain.not_before,
        not_after: chain.not_after,
        renew_at: None,
    };
    if !store::domain_certificate::put(&mut tx, &new).await? {
        return Err(Error::refused(
            Code::Conflict,
            "another certificate came for the hostname at the same moment; look at it, then try again",
        ));
    }
    store::domain::set_tls(&mut tx, id, DomainTls::Uploaded).await?;
    let set = store::domain::find(&mut tx, id).await?;
    let set = set.ok_or_else(|| Error::not_found("domain", id))?;
    tx.event(NewEvent::new("certificate.uploaded", id));
    let detail = json!({ "hostname": set.hostname, "not_after": chain.not_after });
    let entry = context.did_with(grant.action, id, detail);
    context.commit(tx, entry, &[Topic::Routes]).await?;
    Ok(set)
}

/// Goes back to one that comes by itself; the uploaded one serves until then.
///
/// # Errors
/// When not allowed, or none was uploaded.
pub async fn delete(context: &Context, id: DomainId) -> Result<(), Error> {
    let grant = authorize(
        context,
        Action::DomainCertificateDelete,
        Resource::Domain(id),
    )
    .await?;
    let mut tx = grant.mutate(context).await?;
    let domain = own(&mut tx, id).await?;
    if domain.tls != DomainTls::Uploaded {
        return Err(Error::refused(
            Code::Conflict,
            format!("{} has no certificate of its owner's", domain.hostname),
        ));
    }
    store::domain_certificate::renew_now(&mut tx, id).await?;
    store::domain::set_tls(&mut tx, id, DomainTls::Automatic).await?;
    let entry = context.did_with(grant.action, id, json!({ "hostname": domain.hostname }));
    context.commit(tx, entry, &[Topic::Certificates]).await
}

/// A hostname that can have a certificate of its own; nobody else gives it one until the transaction's end.
async fn own(tx: &mut Mutation, id: DomainId) -> Result<Domain, Error> {
    store::domain_certificate::lock(tx, id, &["automatic", "internal", "uploaded"]).await?;
    let found = store::domain::find(tx, id).await?;
    let found = found.ok_or_else(|| Error::not_found("domain", id))?;
    if found.kind == DomainKind::Default {
        return Err(Error::refused(
            Code::Conflict,
            "a default hostname is served with the platform's certificate",
        ));
    }
    if found.verified_at.is_none() {
        return Err(Error::refused(
            Code::Conflict,
            format!(
                "{} is not known to be yours yet: railhead domain check {0}",
                found.hostname
            ),
        ));
    }
    Ok(found)
}

/// Which of both fields is at fault.
fn refused(error: &chain::Error) -> Error {
    let field = match error {
        chain::Error::Key(_) | chain::Error::ForeignKey => "key",
        chain::Error::Pem(_)
        | chain::Error::Order(_)
        | chain::Error::Name { .. }
        | chain::Error::Time { .. } => "chain",
    };
    Error::field(field, error.to_string())
}
