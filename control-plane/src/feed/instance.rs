//! The item of an instance: everything its node needs to run it, in one piece.

use std::collections::BTreeMap;

use domain::{
    id::InstanceId,
    instance::Desired,
    name::{Name, VariableName},
    quantity::Span,
    spec::{Resources, ServiceKind},
};
use protocol::{
    feed::{SecretRef, digest::Rendered},
    item::{InstanceItem, Item as _, NodeItem, RunMode, Value},
};

use super::secrets::SecretKey;
use crate::store::{
    Error,
    placement::{Release, Service},
};

/// A release command ends after this long.
pub const COMMAND_TIMEOUT: Span = Span::seconds(300);

/// The id of an instance's item.
pub fn item_id(instance: InstanceId) -> String {
    format!("instance/{instance}")
}

/// An instance that serves.
pub fn serving(
    service: &Service,
    release: &Release,
    id: InstanceId,
    region: &Name,
    public_domain: Option<&str>,
) -> InstanceItem {
    let spec = &release.spec;
    let listens = spec.kind != ServiceKind::Worker;
    InstanceItem {
        command: spec.deploy.start_command.clone(),
        run: RunMode::Service {
            startup: listens.then(|| spec.deploy.startup.clone()),
            readiness: listens.then(|| spec.deploy.readiness.clone()),
            liveness: spec.deploy.liveness.clone().filter(|_| listens),
        },
        port: listens.then_some(spec.network.port),
        ..base(service, release, id, region, public_domain)
    }
}

/// The release command: runs once, listens to nothing.
pub fn command(
    service: &Service,
    release: &Release,
    id: InstanceId,
    region: &Name,
    public_domain: Option<&str>,
) -> InstanceItem {
    InstanceItem {
        command: release.spec.deploy.pre_deploy_command.clone(),
        run: RunMode::Once {
            timeout: COMMAND_TIMEOUT,
        },
        ..base(service, release, id, region, public_domain)
    }
}

fn base(
    service: &Service,
    release: &Release,
    id: InstanceId,
    region: &Name,
    public_domain: Option<&str>,
) -> InstanceItem {
    let spec = &release.spec;
    InstanceItem {
        id,
        desired: Desired::Run,
        organization_id: service.organization,
        environment_id: service.environment,
        service_id: service.id,
        service_name: service.name.clone(),
        release_id: release.id,
        deployment_id: release.deployment,
        image: release.image.clone(),
        command: None,
        environment: environment(service, release, id, region, public_domain),
        port: None,
        resources: Resources {
            ..spec.scale.resources
        },
        confinement: spec.deploy.confinement,
        run: RunMode::Once {
            timeout: COMMAND_TIMEOUT,
        },
        stop_signal: spec.deploy.stop_signal,
        draining: spec.deploy.draining,
        traceparent: release.traceparent.clone(),
    }
}

/// A user's variables by reference, and what the platform injects, which wins.
fn environment(
    service: &Service,
    release: &Release,
    id: InstanceId,
    region: &Name,
    public_domain: Option<&str>,
) -> BTreeMap<VariableName, Value> {
    let frozen = release.variables.iter().map(|(name, version)| {
        let key = SecretKey::Release(release.id, name.clone());
        (name.clone(), Value::Secret(key.at(*version)))
    });
    let injected = injected(service, release, id, region, public_domain)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::Literal(value)));
    frozen
        .chain(injected)
        .filter_map(|(name, value)| Some((name.parse().ok()?, value)))
        .collect()
}

fn injected(
    service: &Service,
    release: &Release,
    id: InstanceId,
    region: &Name,
    public_domain: Option<&str>,
) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("RAILHEAD_PROJECT_ID", service.project.to_string()),
        ("RAILHEAD_PROJECT_NAME", service.project_name.to_string()),
        ("RAILHEAD_ENVIRONMENT_ID", service.environment.to_string()),
        (
            "RAILHEAD_ENVIRONMENT_NAME",
            service.environment_name.to_string(),
        ),
        ("RAILHEAD_SERVICE_ID", service.id.to_string()),
        ("RAILHEAD_SERVICE_NAME", service.name.to_string()),
        ("RAILHEAD_DEPLOYMENT_ID", release.deployment.to_string()),
        (
            "RAILHEAD_DEPLOYMENT_NAME",
            release.deployment_number.to_string(),
        ),
        ("RAILHEAD_REPLICA_ID", id.to_string()),
        (
            "RAILHEAD_REPLICA_NAME",
            format!("{}-{}", service.name, short(id)),
        ),
        ("RAILHEAD_REGION", region.to_string()),
        (
            "RAILHEAD_PRIVATE_DOMAIN",
            format!("{}.internal", service.name),
        ),
    ];
    if release.spec.kind != ServiceKind::Worker {
        all.push(("PORT", release.spec.network.port.to_string()));
    }
    let optional = [
        ("RAILHEAD_PUBLIC_DOMAIN", public_domain),
        ("RAILHEAD_GIT_COMMIT_SHA", release.commit_sha.as_deref()),
        ("RAILHEAD_GIT_BRANCH", release.commit_branch.as_deref()),
        ("RAILHEAD_GIT_AUTHOR", release.commit_author.as_deref()),
    ];
    all.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.to_owned()))),
    );
    all
}

fn short(id: InstanceId) -> String {
    let text = id.uuid().simple().to_string();
    text.chars().skip(24).collect()
}

/// The item as stored, with the secrets that it refers to.
pub fn render(item: InstanceItem) -> Result<(Rendered, Vec<SecretRef>), Error> {
    let item = NodeItem::Instance(Box::new(item));
    let secrets = item.secrets().into_iter().cloned().collect();
    let rendered = Rendered::of(&item).map_err(|error| Error::corrupt("item", error))?;
    Ok((rendered, secrets))
}
