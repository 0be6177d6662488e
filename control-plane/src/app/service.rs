//! Services: what a tenant asks for.

use std::collections::BTreeMap;

use api::{
    domain::{Domain, DomainKind, DomainTls},
    page::Page,
    problem::{Code, FieldError},
    service::{CreateService, ScaleService, Service, UpdateService},
};
use chrono::Utc;
use domain::{
    hostname::{default_label, distinct_label},
    id::{DomainId, EnvironmentId, OrganizationId, ServiceId},
    name::Name,
    spec::{REPLICAS_MAX, ServiceKind, ServiceSpec},
};
use serde_json::json;

use crate::{
    store::{
        self,
        event::NewEvent,
        page::Paging,
        tx::{Access, Write},
    },
    waker::Topic,
    workflow::deletion,
};

use super::{
    Action, Context, Error, OnConstraint as _, Resource, authorize, edge_rule,
    idempotency::{self, Begun},
    version::{Expected, mismatch},
};

/// The services of an environment.
///
/// # Errors
/// When there is no such environment for the actor.
pub async fn list(
    context: &Context,
    environment: EnvironmentId,
    paging: Paging,
) -> Result<Page<Service>, Error> {
    let resource = Resource::Environment(environment);
    let grant = authorize(context, Action::ServiceList, resource).await?;
    let mut tx = grant.read(context).await?;
    Ok(store::service::list(&mut tx, environment, paging).await?)
}

/// Makes a service, with its default hostname when it answers the internet.
///
/// # Errors
/// When not allowed, the name is taken, or the specification can't be.
pub async fn create(
    context: &Context,
    environment: EnvironmentId,
    request: CreateService,
) -> Result<Service, Error> {
    let resource = Resource::Environment(environment);
    let grant = authorize(context, Action::ServiceCreate, resource).await?;
    let mut tx = match idempotency::begin(context, grant.mutate(context).await?).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    check(&mut tx, &request.spec).await?;
    edge_rule::check(&request.spec.edge, &[], request.confirm_block_all).await?;
    let id = ServiceId::new();
    let (organization, name) = (grant.organization, &request.name);
    store::service::insert(&mut tx, organization, environment, id, name, &request.spec)
        .await
        .on_constraint("service_name", || taken(name))?;
    if request.spec.kind == ServiceKind::Web {
        let domain = context.state.config.platform_domain.as_str();
        add_default_hostname(&mut tx, organization, environment, id, name, domain).await?;
    }
    let service = found(&mut tx, id).await?;
    tx.event(NewEvent::new("service.created", id));
    let entry = context.did_with(grant.action, id, json!({ "name": name }));
    tx.commit(entry, service).await
}

/// One service.
///
/// # Errors
/// When there is none for the actor.
pub async fn get(context: &Context, id: ServiceId) -> Result<Service, Error> {
    let grant = authorize(context, Action::ServiceGet, Resource::Service(id)).await?;
    found(&mut grant.read(context).await?, id).await
}

/// Replaces a service's specification; it takes effect with the next deployment.
///
/// # Errors
/// When not allowed, the specification can't be, or the version is another one.
pub async fn update(
    context: &Context,
    id: ServiceId,
    expected: Expected,
    request: UpdateService,
) -> Result<Service, Error> {
    let grant = authorize(context, Action::ServiceUpdate, Resource::Service(id)).await?;
    let mut tx = grant.mutate(context).await?;
    check(&mut tx, &request.spec).await?;
    check_new_rules(&mut tx, id, &request).await?;
    store::service::update(&mut tx, id, expected.version(), &request.spec)
        .await?
        .ok_or_else(|| mismatch("service"))?;
    let mut service = found(&mut tx, id).await?;
    if request.spec.kind == ServiceKind::Web && service.hostnames.is_empty() {
        let domain = context.state.config.platform_domain.as_str();
        let (environment, name) = (service.environment_id, &service.name);
        add_default_hostname(&mut tx, grant.organization, environment, id, name, domain).await?;
        service = found(&mut tx, id).await?;
    }
    tx.event(NewEvent::new("service.updated", id));
    let entry = context.did_with(grant.action, id, json!({ "version": service.version }));
    context.commit(tx, entry, &[Topic::Evaluations]).await?;
    Ok(service)
}

/// Deletes a service: what runs is stopped, and nothing is left behind.
///
/// # Errors
/// When not allowed, or the version is another one.
pub async fn delete(context: &Context, id: ServiceId, expected: Expected) -> Result<(), Error> {
    let grant = authorize(context, Action::ServiceDelete, Resource::Service(id)).await?;
    let mut tx = grant.mutate(context).await?;
    let found = store::service::find(&mut tx, id).await?;
    let name = found.ok_or_else(|| Error::not_found("service", id))?.name;
    if !store::service::delete(&mut tx, id, expected.version()).await? {
        return Err(mismatch("service"));
    }
    deletion::WORKFLOW
        .begin(&mut tx, Some(grant.organization), &id, name.as_str())
        .await?;
    tx.event(NewEvent::new("service.deleted", id));
    let entry = context.did(grant.action, id);
    context.commit(tx, entry, &[Topic::Workflows]).await
}

/// Changes how many instances run, at once and without a deployment.
///
/// # Errors
/// When not allowed, or a region doesn't exist.
pub async fn scale(
    context: &Context,
    id: ServiceId,
    request: ScaleService,
) -> Result<Service, Error> {
    let grant = authorize(context, Action::ServiceScale, Resource::Service(id)).await?;
    let mut tx = grant.mutate(context).await?;
    let mut spec = store::service::lock_spec(&mut tx, id)
        .await?
        .ok_or_else(|| Error::not_found("service", id))?;
    merge_scale(&mut spec.scale.regions, &request.regions)?;
    check(&mut tx, &spec).await?;
    store::service::update(&mut tx, id, None, &spec).await?;
    store::evaluation::request(&mut tx, grant.organization, id, "scale").await?;
    let service = found(&mut tx, id).await?;
    tx.event(NewEvent::new("service.scaled", id));
    let entry = context.did_with(grant.action, id, json!({ "regions": request.regions }));
    context.commit(tx, entry, &[Topic::Evaluations]).await?;
    Ok(service)
}

/// Stops a service until its next deployment.
///
/// # Errors
/// When not allowed.
pub async fn down(context: &Context, id: ServiceId) -> Result<Service, Error> {
    let grant = authorize(context, Action::ServiceDown, Resource::Service(id)).await?;
    let mut tx = grant.mutate(context).await?;
    store::service::deactivate(&mut tx, id).await?;
    store::evaluation::request(&mut tx, grant.organization, id, "down").await?;
    let service = found(&mut tx, id).await?;
    tx.event(NewEvent::new("service.down", id));
    let entry = context.did(grant.action, id);
    context
        .commit(tx, entry, &[Topic::Evaluations, Topic::Routes])
        .await?;
    Ok(service)
}

/// Rules that stay as they are have been asked about before.
async fn check_new_rules(
    tx: &mut impl Access,
    id: ServiceId,
    request: &UpdateService,
) -> Result<(), Error> {
    if request.spec.edge.is_empty() {
        return Ok(());
    }
    let before = found(tx, id).await?;
    if before.spec.edge == request.spec.edge {
        return Ok(());
    }
    let is_meant = request.confirm_block_all;
    edge_rule::check(&request.spec.edge, &before.hostnames, is_meant).await
}

async fn found(tx: &mut impl Access, id: ServiceId) -> Result<Service, Error> {
    let found = store::service::find(tx, id).await?;
    found.ok_or_else(|| Error::not_found("service", id))
}

fn merge_scale(
    regions: &mut BTreeMap<Name, u32>,
    change: &BTreeMap<Name, u32>,
) -> Result<(), Error> {
    for (region, replicas) in change {
        if *replicas > REPLICAS_MAX {
            return Err(Error::field(
                format!("regions.{region}"),
                format!("a region has at most {REPLICAS_MAX} replicas of a service"),
            ));
        }
        regions.insert(region.clone(), *replicas);
    }
    Ok(())
}

/// Whether a specification can be, on this platform.
pub(super) async fn check(tx: &mut impl Access, spec: &ServiceSpec) -> Result<(), Error> {
    let errors: Vec<FieldError> = spec
        .check()
        .into_iter()
        .map(|fault| FieldError {
            field: format!("spec.{}", fault.field),
            reason: fault.reason,
        })
        .collect();
    if !errors.is_empty() {
        return Err(cannot_be(errors));
    }
    let named = spec.scale.regions.keys().chain(&spec.network.residency);
    let names: Vec<&str> = named.map(Name::as_str).collect();
    let unknown = store::region::unknown(tx, &names).await?;
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        code: Code::UnknownRegion,
        detail: format!(
            "this platform has no region {}; `railhead region list` shows them",
            unknown.join(", ")
        ),
        errors: unknown
            .into_iter()
            .map(|name| FieldError {
                field: format!("spec.scale.regions.{name}"),
                reason: "no such region".to_owned(),
            })
            .collect(),
    })
}

/// A specification with faults.
pub(super) fn cannot_be(errors: Vec<FieldError>) -> Error {
    let first = errors.first();
    let first = first.map(|fault| format!(": {}: {}", fault.field, fault.reason));
    Error::Refused {
        code: Code::InvalidField,
        detail: format!("the specification can't be{}", first.unwrap_or_default()),
        errors,
    }
}

async fn add_default_hostname(
    tx: &mut impl Write,
    organization: OrganizationId,
    environment: EnvironmentId,
    service: ServiceId,
    name: &Name,
    platform_domain: &str,
) -> Result<(), Error> {
    let environment = store::environment::find(tx, environment)
        .await?
        .ok_or_else(|| Error::not_found("environment", environment))?;
    let project = store::project::find(tx, environment.project_id)
        .await?
        .ok_or_else(|| Error::not_found("project", environment.project_id))?;
    let labels = [
        default_label(name, &environment.name, &project.name),
        distinct_label(name, &environment.name, &project.name, &service.to_string()),
    ];
    for label in labels {
        let hostname = Domain {
            id: DomainId::new(),
            service_id: service,
            hostname: format!("{label}.{platform_domain}"),
            kind: DomainKind::Default,
            verified_at: Some(Utc::now()),
            last_error: None,
            tls: DomainTls::default(),
            certificate: None,
            certificate_order: None,
            created_at: Utc::now(),
        };
        if store::domain::insert(tx, organization, &hostname)
            .await?
            .is_some()
        {
            return Ok(());
        }
    }
    Err(Error::refused(
        Code::HostnameUnavailable,
        "neither of the service's default hostnames is available; choose another name",
    ))
}

fn taken(name: &Name) -> Error {
    Error::refused(
        Code::NameTaken,
        format!("the environment has a service called {name} already"),
    )
}
