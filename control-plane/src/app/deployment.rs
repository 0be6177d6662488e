//! Deployments: asking for one, cancelling it, looking at it. How it goes on is the deployment
//! machine's, run by the reconciler.

use api::{
    deployment::{CreateDeployment, Deployment, DeploymentSource},
    page::Page,
    problem::Code,
    service::Service,
};
use domain::{
    deployment::{Reason, Source},
    id::{DeploymentId, ReleaseId, ServiceId},
    image::{ImageReference, InvalidImageReference},
    spec::{GitSource, ImageSource, ServiceSpec, Source as SpecSource, is_git_ref},
};
use serde_json::json;

use crate::{
    store::{
        self,
        deployment_api::NewDeployment,
        event::NewEvent,
        page::Paging,
        tx::{Access, Write},
    },
    waker::Topic,
};

use super::{
    Action, Context, Error, Resource, authorize,
    idempotency::{self, Begun},
    variable,
};

/// The deployments of a service, newest first.
///
/// # Errors
/// When there is no such service for the actor.
pub async fn list(
    context: &Context,
    service: ServiceId,
    paging: Paging,
) -> Result<Page<Deployment>, Error> {
    let grant = authorize(context, Action::DeploymentList, Resource::Service(service)).await?;
    let mut tx = grant.read(context).await?;
    Ok(store::deployment_api::list(&mut tx, service, paging).await?)
}

/// One deployment.
///
/// # Errors
/// When there is none for the actor.
pub async fn get(context: &Context, id: DeploymentId) -> Result<Deployment, Error> {
    let grant = authorize(context, Action::DeploymentGet, Resource::Deployment(id)).await?;
    found(&mut grant.read(context).await?, id).await
}

/// Asks for a deployment. Everything that can be known to be wrong is refused here, before anything
/// is built or started.
///
/// # Errors
/// When not allowed, there is nothing to deploy, or variables don't resolve.
pub async fn create(
    context: &Context,
    service: ServiceId,
    request: CreateDeployment,
) -> Result<Deployment, Error> {
    let resource = Resource::Service(service);
    let grant = authorize(context, Action::DeploymentCreate, resource).await?;
    let mut tx = match idempotency::begin(context, grant.mutate(context).await?).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    let no_service = || Error::not_found("service", service);
    store::service::lock_spec(&mut tx, service)
        .await?
        .ok_or_else(no_service)?;
    let found_service = store::service::find(&mut tx, service)
        .await?
        .ok_or_else(no_service)?;
    let registry = &context.state.config.registry.host;
    let plan = plan(&mut tx, &found_service, request.source, registry).await?;
    if plan.reason == Reason::Rollback {
        store::service::update(&mut tx, service, None, &plan.spec).await?;
    } else {
        let (organization, environment) = (grant.organization, found_service.environment_id);
        let name = &found_service.name;
        variable::check_references(context, &mut tx, organization, environment, name).await?;
    }
    let id = DeploymentId::new();
    let new = NewDeployment {
        id,
        service,
        source: &plan.source,
        spec: &plan.spec,
        reason: plan.reason,
        created_by: context.actor.user,
        traceparent: context.traceparent.as_deref(),
    };
    store::deployment_api::insert(&mut tx, grant.organization, &new).await?;
    let deployment = found(&mut tx, id).await?;
    tx.event(NewEvent::new("deployment.created", id));
    tx.wake(Topic::Deployments);
    let detail = json!({ "service": service, "reason": plan.reason.as_str() });
    tx.commit(context.did_with(grant.action, id, detail), deployment)
        .await
}

/// Asks for a deployment to be cancelled; what served before serves on.
///
/// # Errors
/// When not allowed, or edges take it over already.
pub async fn cancel(context: &Context, id: DeploymentId) -> Result<Deployment, Error> {
    let resource = Resource::Deployment(id);
    let grant = authorize(context, Action::DeploymentCancel, resource).await?;
    let mut tx = grant.mutate(context).await?;
    if !store::deployment_api::request_cancel(&mut tx, id).await? {
        return Err(Error::refused(
            Code::Conflict,
            "the deployment has ended, or edges take it over already; roll back to an older release \
             instead",
        ));
    }
    let deployment = found(&mut tx, id).await?;
    tx.event(NewEvent::new("deployment.cancel_requested", id));
    let entry = context.did(grant.action, id);
    context.commit(tx, entry, &[Topic::Deployments]).await?;
    Ok(deployment)
}

async fn found(tx: &mut impl Access, id: DeploymentId) -> Result<Deployment, Error> {
    let found = store::deployment_api::find(tx, id).await?;
    found.ok_or_else(|| Error::not_found("deployment", id))
}

/// What a deployment puts into place, frozen.
struct Plan {
    source: Source,
    spec: ServiceSpec,
    reason: Reason,
}

impl Plan {
    fn deploy(source: Source, service: &Service) -> Self {
        Self {
            source,
            spec: service.spec.clone(),
            reason: Reason::Deploy,
        }
    }
}

async fn plan(
    tx: &mut impl Write,
    service: &Service,
    asked: Option<DeploymentSource>,
    registry: &str,
) -> Result<Plan, Error> {
    match (asked, &service.spec.source) {
        (None, Some(SpecSource::Git(git))) => from_git(tx, service, git, None).await,
        (Some(DeploymentSource::Git { reference }), Some(SpecSource::Git(git))) => {
            from_git(tx, service, git, reference).await
        }
        (Some(DeploymentSource::Git { .. }), _) => Err(Error::refused(
            Code::SourceMissing,
            "the service's specification names no git repository; set spec.source.repo first",
        )),
        (Some(DeploymentSource::Image { image: Some(image) }), _) => {
            from_image(service, &image, registry)
        }
        (
            None | Some(DeploymentSource::Image { image: None }),
            Some(SpecSource::Image(ImageSource { image })),
        ) => from_image(service, image, registry),
        (Some(DeploymentSource::Image { image: None }), _) => Err(Error::refused(
            Code::SourceMissing,
            "the service's specification names no image; give one, or set spec.source.image first",
        )),
        (Some(DeploymentSource::Archive { archive_id }), _) => {
            if !store::archive::exists(tx, service.id, archive_id).await? {
                return Err(Error::not_found("archive", archive_id));
            }
            Ok(Plan::deploy(Source::Archive { id: archive_id }, service))
        }
        (Some(DeploymentSource::Release { release_id }), _) => {
            rollback(tx, service, release_id).await
        }
        (Some(DeploymentSource::Current), _) => redeploy(tx, service).await,
        (None, None) => Err(Error::refused(
            Code::SourceMissing,
            "the service has no source; set spec.source, upload a working tree (railhead up), or \
             give an image",
        )),
    }
}

async fn from_git(
    tx: &mut impl Access,
    service: &Service,
    git: &GitSource,
    reference: Option<String>,
) -> Result<Plan, Error> {
    let reference = reference.or_else(|| git.branch.clone());
    if reference.as_deref().is_some_and(|text| !is_git_ref(text)) {
        return Err(Error::field(
            "source.reference",
            "not a name that git allows for a branch, tag or commit",
        ));
    }
    let over_https = git.repo.starts_with("https://") || git.repo.starts_with("file://");
    let deploy_key = if over_https {
        None
    } else {
        store::deploy_key::newest_of_project(tx, service.project_id).await?
    };
    let source = Source::Git {
        repo: git.repo.clone(),
        reference,
        root: git.root.clone(),
        deploy_key,
    };
    Ok(Plan::deploy(source, service))
}

async fn rollback(tx: &mut impl Access, service: &Service, id: ReleaseId) -> Result<Plan, Error> {
    let release = store::release_api::find(tx, id).await?;
    let release = release
        .filter(|release| release.service_id == service.id)
        .ok_or_else(|| Error::not_found("release", id))?;
    Ok(Plan {
        source: Source::Release { id },
        spec: release.spec,
        reason: Reason::Rollback,
    })
}

/// A built image stays the same; one that was asked for by its tag is looked up again.
async fn redeploy(tx: &mut impl Access, service: &Service) -> Result<Plan, Error> {
    let current = store::deployment_api::current_release(tx, service.id).await?;
    let (release, image) = current.ok_or_else(|| {
        Error::refused(
            Code::SourceMissing,
            "nothing of this service was live yet; deploy it first",
        )
    })?;
    Ok(Plan {
        source: match image {
            Some(image) => Source::Image { image },
            None => Source::Current { release },
        },
        spec: service.spec.clone(),
        reason: Reason::Redeploy,
    })
}

fn from_image(service: &Service, image: &str, registry: &str) -> Result<Plan, Error> {
    let refused = |reason: String| Error::field("source.image", reason);
    let reference: ImageReference = image
        .parse()
        .map_err(|error: InvalidImageReference| refused(error.to_string()))?;
    if !may_use(&service.organization_id.to_string(), &reference, registry) {
        let reason = "the platform's registry has no such image of your organization";
        return Err(refused(reason.to_owned()));
    }
    let image = image.to_owned();
    Ok(Plan::deploy(Source::Image { image }, service))
}

/// Of the platform's own registry a tenant may use base images and its own. A node may hold the right
/// to pull what another tenant runs there, so this is checked before it ever reaches a node.
fn may_use(organization: &str, image: &ImageReference, registry: &str) -> bool {
    let owner = image.repository().split_once('/').map(|(owner, _)| owner);
    !image.registry().eq_ignore_ascii_case(registry)
        || owner.is_some_and(|owner| owner == "library" || owner == organization)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_tenants_image_in_the_platforms_registry_can_not_be_used() {
        let ours = "registry.example.com:5000";
        for (image, allowed) in [
            ("registry.example.com:5000/org_1/svc_1:a", true),
            ("registry.example.com:5000/library/nginx", true),
            ("registry.example.com:5000/org_2/svc_2:a", false),
            ("Registry.Example.com:5000/org_2/svc_2:a", false),
            ("registry.example.com:5000/svc_2", false),
            ("elsewhere.example.com/org_2/svc_2:a", true),
            ("nginx:1.27", true),
        ] {
            let reference = image.parse().unwrap();
            assert_eq!(may_use("org_1", &reference, ours), allowed, "{image}");
        }
    }
}
