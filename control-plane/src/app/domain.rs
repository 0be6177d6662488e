//! Hostnames that lead to a service.

use api::{
    domain::{CreateDomain, Domain, DomainKind, DomainTls},
    page::Page,
    problem::Code,
};
use chrono::Utc;
use domain::{
    hostname::Hostname,
    id::{DomainId, ServiceId},
};
use serde_json::json;

use crate::{
    store::{self, event::NewEvent, page::Paging},
    waker::Topic,
};

use super::{
    Action, Context, Error, Resource, authorize,
    idempotency::{self, Begun},
};

/// What a hostname outside the platform's domain waits for.
const NOT_VERIFIED: &str = "its DNS was not looked at yet";
/// Hostnames of one organization that wait for their DNS, at most: each is looked up again and again.
const WAITING_MAX: i64 = 100;

/// The hostnames of a service.
///
/// # Errors
/// When there is no such service for the actor.
pub async fn list(
    context: &Context,
    service: ServiceId,
    paging: Paging,
) -> Result<Page<Domain>, Error> {
    let grant = authorize(context, Action::DomainList, Resource::Service(service)).await?;
    let mut tx = grant.read(context).await?;
    Ok(store::domain::list(&mut tx, service, paging).await?)
}

/// Adds a hostname. Names under the platform's domain are good at once; others when their DNS leads
/// here and says whose they are. Until then any organization may claim them: nobody can keep an owner
/// from their own name.
///
/// # Errors
/// When not allowed, it is no hostname, reserved, taken, or too many wait.
pub async fn create(
    context: &Context,
    service: ServiceId,
    request: CreateDomain,
) -> Result<Domain, Error> {
    let grant = authorize(context, Action::DomainCreate, Resource::Service(service)).await?;
    let platform_domain = context.state.config.platform_domain.as_str();
    let hostname: Hostname = request
        .hostname
        .parse()
        .map_err(|e: domain::hostname::InvalidHostname| Error::field("hostname", e.to_string()))?;
    hostname
        .check_custom(platform_domain)
        .map_err(|e| Error::field("hostname", e.to_string()))?;
    if request.tls == DomainTls::Uploaded {
        return Err(Error::field(
            "tls",
            "add the hostname first, then upload its certificate: PUT /v1/domains/{domain_id}/certificate",
        ));
    }
    let mut tx = match idempotency::begin(context, grant.mutate(context).await?).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    let ours = hostname.is_within(platform_domain);
    if !ours && store::domain::count_waiting(&mut tx, grant.organization).await? >= WAITING_MAX {
        return Err(Error::refused(
            Code::LimitExceeded,
            format!(
                "{WAITING_MAX} hostnames of the organization wait for their DNS already; set it, or \
                 remove some first"
            ),
        ));
    }
    let new = Domain {
        id: DomainId::new(),
        service_id: service,
        hostname: hostname.to_string(),
        kind: DomainKind::Custom,
        verified_at: ours.then(Utc::now),
        last_error: (!ours).then(|| NOT_VERIFIED.to_owned()),
        tls: request.tls,
        certificate: None,
        certificate_order: None,
        created_at: Utc::now(),
    };
    let made = store::domain::insert(&mut tx, grant.organization, &new).await?;
    let made = made.ok_or_else(|| {
        Error::refused(
            Code::HostnameUnavailable,
            format!("{hostname} is not available"),
        )
    })?;
    tx.event(NewEvent::new("domain.created", made.id));
    tx.wake(if ours { Topic::Routes } else { Topic::Domains });
    let detail = json!({ "hostname": made.hostname, "service": service });
    let entry = context.did_with(grant.action, made.id, detail);
    tx.commit(entry, made).await
}

/// Removes a hostname that a tenant added; the default one goes with its service.
///
/// # Errors
/// When not allowed, or it is the default one.
pub async fn delete(context: &Context, id: DomainId) -> Result<(), Error> {
    let grant = authorize(context, Action::DomainDelete, Resource::Domain(id)).await?;
    let mut tx = grant.mutate(context).await?;
    let found = store::domain::find(&mut tx, id).await?;
    let found = found.ok_or_else(|| Error::not_found("domain", id))?;
    if found.kind == DomainKind::Default {
        return Err(Error::refused(
            Code::Conflict,
            "a default hostname goes with its service; it can't be removed alone",
        ));
    }
    store::domain::delete(&mut tx, id).await?;
    tx.event(NewEvent::new("domain.deleted", id));
    let entry = context.did_with(grant.action, id, json!({ "hostname": found.hostname }));
    context.commit(tx, entry, &[Topic::Routes]).await
}
