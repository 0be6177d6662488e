//! The item of a build: everything that its node needs to make the image and to push it.

use domain::{
    id::{BuildId, OrganizationId, ServiceId},
    name::VariableName,
};
use protocol::{
    feed::{SecretRef, digest::Rendered},
    item::{BuildItem, BuildSource, Item as _, NodeItem},
};

use super::secrets::SecretKey;
use crate::store::{Error, build::Build, feed::Change};

/// The id of a build's item.
pub fn item_id(build: BuildId) -> String {
    format!("build/{build}")
}

/// Where the images of a service lie.
pub fn repository(registry: &str, organization: OrganizationId, service: ServiceId) -> String {
    format!("{registry}/{organization}/{service}")
}

/// Tells a node what it shall do.
///
/// # Errors
/// When the item can't be JSON.
pub fn put(build: &Build, registry: &str) -> Result<Change, Error> {
    let item = NodeItem::Build(Box::new(item(build, registry)));
    let secrets = item.secrets().into_iter().cloned().collect();
    let item = Rendered::of(&item).map_err(|error| Error::corrupt("item", error))?;
    Ok(Change::Put {
        id: item_id(build.id),
        item,
        secrets,
    })
}

fn item(build: &Build, registry: &str) -> BuildItem {
    let spec = &build.spec.build;
    let secret =
        |name: &VariableName| -> SecretRef { SecretKey::Build(build.id, name.to_string()).at(1) };
    BuildItem {
        id: build.id,
        cancel: build.canceled,
        organization_id: build.organization,
        service_id: build.service,
        deployment_id: build.deployment,
        source: build.source.clone(),
        root: match &build.source {
            BuildSource::Git { .. } => build.root.clone(),
            BuildSource::Archive { .. } | BuildSource::Image { .. } => "/".to_owned(),
        },
        dockerfile_path: spec.dockerfile_path.clone(),
        args: spec.args.clone(),
        secrets: spec
            .secrets
            .iter()
            .map(|name| (name.clone(), secret(name)))
            .collect(),
        repository: repository(registry, build.organization, build.service),
        timeout: spec.timeout,
        traceparent: build.traceparent.clone(),
    }
}
