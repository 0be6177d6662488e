//! Builds and releases are made from the service's variables as they are now; their values are
//! frozen, sealed again under what they belong to, so that a rollback restores them.

use std::collections::BTreeMap;

use domain::{
    deployment::{Source, machine::Failure},
    id::{BuildId, ReleaseId},
    image::InvalidImageReference,
    name::VariableName,
    reference::{self, Key, Scope, Variables},
};
use protocol::item::BuildSource;
use sha2::{Digest as _, Sha256};

use crate::{
    feed::{build::repository, secrets::SecretKey},
    reconcile::{Context, Error},
    secrets::{self, Label},
    store::{
        deployment::{self, Deployment},
        placement::Service,
        release::{self, Origin},
        tx::SystemTx,
    },
};

type Values = BTreeMap<VariableName, String>;

/// Makes the deployment's build, with the values of its secret mounts.
pub(super) async fn start_build(
    context: &Context,
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<Result<(), Failure>, Error> {
    let source = match build_source(tx, deployment).await? {
        Ok(source) => source,
        Err(failure) => return Ok(Err(failure)),
    };
    let mounts = match mounts(context, tx, service, deployment).await? {
        Ok(mounts) => mounts,
        Err(failure) => return Ok(Err(failure)),
    };
    let id = BuildId::new();
    release::insert_build(tx, deployment, id, &source).await?;
    for (name, value) in mounts {
        let label = Label::variable(deployment.organization, id, &name, 1);
        let sealed = context.state.secrets.seal(&label, value.as_bytes()).await?;
        release::insert_build_secret(tx, deployment.organization, id, name.as_str(), &sealed)
            .await?;
    }
    Ok(Ok(()))
}

async fn build_source(
    tx: &mut SystemTx,
    deployment: &Deployment,
) -> Result<Result<BuildSource, Failure>, Error> {
    match &deployment.source {
        Source::Git {
            repo,
            reference,
            deploy_key,
            ..
        } => Ok(Ok(BuildSource::Git {
            repo: repo.clone(),
            reference: reference.clone(),
            deploy_key: deploy_key.map(|id| SecretKey::DeployKey(id).at(1)),
        })),
        Source::Archive { id } => {
            let sha256 = release::archive_sha256(tx, *id, deployment.service).await?;
            Ok(sha256
                .map(|sha256| BuildSource::Archive { id: *id, sha256 })
                .ok_or_else(|| {
                    Failure::new(
                        "archive_not_found",
                        format!("the uploaded archive {id} is gone; upload the working tree again"),
                    )
                }))
        }
        Source::Image { image } => Ok(image
            .parse()
            .map(|image| BuildSource::Image { image })
            .map_err(|error: InvalidImageReference| {
                Failure::new("image_reference_invalid", format!("{image} {error}"))
            })),
        Source::Current { .. } | Source::Release { .. } => Ok(Err(Failure::new(
            "nothing_to_build",
            "this deployment's image exists already",
        ))),
    }
}

async fn mounts(
    context: &Context,
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<Result<Values, Failure>, Error> {
    let wanted = &deployment.spec.build.secrets;
    if wanted.is_empty() || matches!(deployment.source, Source::Image { .. }) {
        return Ok(Ok(Values::new()));
    }
    let values = match values(context, tx, service).await? {
        Ok(values) => values,
        Err(failure) => return Ok(Err(failure)),
    };
    let missing = wanted.iter().find(|name| !values.contains_key(*name));
    if let Some(name) = missing {
        return Ok(Err(Failure::new(
            "build_secret_missing",
            format!(
                "build.secrets names {name}, but the service has no such variable: set it with `railhead variable set {name}=…`"
            ),
        )));
    }
    Ok(Ok(values
        .into_iter()
        .filter(|(name, _)| wanted.contains(name))
        .collect()))
}

/// Makes the deployment's release; a rollback takes the one that is there.
pub(super) async fn make(
    context: &Context,
    tx: &mut SystemTx,
    service: &Service,
    deployment: &Deployment,
) -> Result<Result<(), Failure>, Error> {
    if let Source::Release { id } = &deployment.source {
        let found = release::exists(tx, deployment.service, *id).await?;
        if found.is_ok() {
            deployment::set_release(tx, deployment.id, *id).await?;
        }
        return Ok(found);
    }
    let (image, origin) = match image(context, tx, deployment).await? {
        Ok(image) => image,
        Err(failure) => return Ok(Err(failure)),
    };
    let values = match values(context, tx, service).await? {
        Ok(values) => values,
        Err(failure) => return Ok(Err(failure)),
    };
    let id = ReleaseId::new();
    let versions: BTreeMap<String, i64> = values.keys().map(|name| (name.to_string(), 1)).collect();
    let new = release::New {
        id,
        content_digest: content_digest(&image, deployment, &values),
        image,
        origin,
        variables: &versions,
    };
    release::insert(tx, deployment, &new).await?;
    for (name, value) in &values {
        let label = Label::variable(deployment.organization, id, name, 1);
        let sealed = context.state.secrets.seal(&label, value.as_bytes()).await?;
        release::insert_secret(tx, service, id, name.as_str(), &sealed).await?;
    }
    deployment::set_release(tx, deployment.id, id).await?;
    failpoint::reach("release-written");
    Ok(Ok(()))
}

/// The image that runs, and what made it.
async fn image(
    context: &Context,
    tx: &mut SystemTx,
    deployment: &Deployment,
) -> Result<Result<(String, Origin), Failure>, Error> {
    if let Source::Current { release } = &deployment.source {
        let image = release::image(tx, deployment.service, *release).await?;
        return Ok(image
            .map(|image| (image, Origin::Release(*release)))
            .ok_or_else(|| release::not_found(*release)));
    }
    let build = deployment::build(tx, deployment.id).await?;
    let built = build.and_then(|build| Some((build.id, build.digest?)));
    Ok(built
        .map(|(id, digest)| {
            let registry = &context.state.config.registry.host;
            let repository = repository(registry, deployment.organization, deployment.service);
            (format!("{repository}@{digest}"), Origin::Build(id))
        })
        .ok_or_else(|| Failure::new("build_failed", "the build left no image; look at its log")))
}

/// The service's variables with every reference filled in.
async fn values(
    context: &Context,
    tx: &mut SystemTx,
    service: &Service,
) -> Result<Result<Values, Failure>, Error> {
    let mut all = Variables::new();
    for (name, spec, hostname) in
        release::neighbours(tx, service.organization, service.environment).await?
    {
        let scope = Scope::Service(name.parse()?);
        let mut offer = |variable: &str, value: String| {
            if let Ok(name) = variable.parse() {
                let scope = scope.clone();
                all.insert(Key { scope, name }, value);
            }
        };
        offer("PORT", spec.network.port.to_string());
        offer("RAILHEAD_PRIVATE_DOMAIN", format!("{name}.internal"));
        if let Some(hostname) = hostname {
            offer("RAILHEAD_PUBLIC_DOMAIN", hostname);
        }
    }
    let offered: Vec<Key> = all.keys().cloned().collect();
    let mut own = Vec::new();
    for variable in release::variables(tx, service.organization, service.environment).await? {
        let secrets = &context.state.secrets;
        let opened = match secrets.open_text(&variable.label, &variable.sealed).await {
            // It will not open at the next turn either.
            Err(error @ secrets::Error::Open(_)) => {
                return Ok(Err(Failure::new("variable_unreadable", error.to_string())));
            }
            opened => opened?,
        };
        own.push(variable.key.clone());
        all.insert(variable.key, opened.to_string());
    }
    let resolved = reference::resolve(&service.name, &all).map(|mut values| {
        // What is only offered to others is injected by the platform, not frozen.
        values.retain(|name, _| {
            let is_own = own.iter().any(|key| key.name == *name);
            is_own || !offered.iter().any(|key| key.name == *name)
        });
        values
    });
    Ok(resolved.map_err(|error| {
        let code = match error {
            reference::Error::Cycle(_) => "reference_circular",
            _ => "reference_unresolved",
        };
        Failure::new(code, error.to_string())
    }))
}

/// Names the content of a release; values count by name only, so that nothing can be guessed from it.
fn content_digest(image: &str, deployment: &Deployment, values: &Values) -> String {
    let names: Vec<&str> = values.keys().map(VariableName::as_str).collect();
    let spec = serde_json::to_string(&deployment.spec).unwrap_or_default();
    let text = format!("{image}\n{spec}\n{}", names.join("\n"));
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}
