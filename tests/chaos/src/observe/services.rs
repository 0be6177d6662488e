//! What there is of services beside instances: rows, items of feeds, images on engines and in the registry.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use domain::id::ServiceId;
use e2e::platform::Platform;
use serde_json::Value;
use sqlx::{PgConnection, types::Uuid};

use crate::{
    engine,
    world::{Item, Presence, World},
};

/// In one snapshot.
pub(super) async fn rows(tx: &mut PgConnection, world: &mut World) -> Result<()> {
    presence(tx, world).await?;
    items(tx, world).await?;
    let rows: Vec<(String, Option<Vec<Uuid>>)> = sqlx::query_as(
        "select r.name, s.kept_services
         from node_status s join node n on n.id = s.node_id join region r on r.id = n.region_id
         where n.role = 'agent' and n.denied_at is null",
    )
    .fetch_all(tx)
    .await?;
    for (region, services) in rows {
        let kept = world.kept.entry(region).or_insert(Some(BTreeSet::new()));
        let of_agent = services.map(|ids| ids.into_iter().map(ServiceId::from));
        *kept = kept.take().zip(of_agent).map(|(mut kept, of_agent)| {
            kept.extend(of_agent);
            kept
        });
    }
    Ok(())
}

async fn presence(tx: &mut PgConnection, world: &mut World) -> Result<()> {
    let rows: Vec<(Uuid, bool, Option<f64>)> = sqlx::query_as(
        "select s.id, d.at is not null,
                (select extract(epoch from now() - greatest(d.at, max(i.stopped_at)))::float8 from instance i
                 where i.service_id = s.id having bool_and(i.stopped_at is not null))
         from service s join environment e on e.id = s.environment_id join project p on p.id = e.project_id,
              lateral (select coalesce(s.deleted_at, e.deleted_at, p.deleted_at) as at) d",
    )
    .fetch_all(tx)
    .await?;
    for (service, is_deleted, idle) in rows {
        let idle = idle.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let presence = if is_deleted {
            Presence::Deleting { idle }
        } else {
            Presence::Whole
        };
        world.services.insert(service.into(), presence);
    }
    Ok(())
}

async fn items(tx: &mut PgConnection, world: &mut World) -> Result<()> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "select feed, id, json::jsonb ->> 'service_id' from feed_item
         where json::jsonb ->> 'service_id' is not null",
    )
    .fetch_all(tx)
    .await?;
    for (feed, id, service) in rows {
        let service = service.parse::<ServiceId>();
        let service = service.with_context(|| format!("{id} of {feed}"))?;
        world.items.push(Item { feed, id, service });
    }
    Ok(())
}

/// Past the control plane.
pub(super) async fn images(platform: &Platform, world: &mut World) -> Result<()> {
    for (region, seen) in &platform.status.regions {
        for image in engine::get(&seen.docker_socket, "/images/json").await? {
            let services = names(&image).filter_map(service_of);
            let places = services.map(|service| (region.clone(), service));
            world.images.extend(places);
        }
    }
    let repositories = "registry/docker/registry/v2/repositories";
    world.manifests = in_registry(&platform.data()?.join(repositories))?;
    Ok(())
}

/// By tag and by digest; an engine has neither of an image that nothing refers to.
fn names(image: &Value) -> impl Iterator<Item = &str> {
    let lists = [&image["RepoTags"], &image["RepoDigests"]].into_iter();
    let names = lists.filter_map(Value::as_array).flatten();
    names.filter_map(Value::as_str)
}

/// Of `registry/org_…/svc_…@sha256:…`.
fn service_of(image: &str) -> Option<ServiceId> {
    let mut parts = image.split(['/', '@', ':']);
    parts.find_map(|part| part.parse().ok())
}

/// Services with a manifest or a tag in the registry's folder.
fn in_registry(repositories: &Path) -> Result<BTreeSet<ServiceId>> {
    let mut found = BTreeSet::new();
    for organization in entries(repositories)? {
        for repository in entries(&organization)? {
            let name = repository.file_name().and_then(|name| name.to_str());
            let service = name.and_then(|name| name.parse::<ServiceId>().ok());
            if let Some(service) = service
                && has_manifest(&repository.join("_manifests"))?
            {
                found.insert(service);
            }
        }
    }
    Ok(found)
}

/// The folder of a manifest stays without its link.
fn has_manifest(folder: &Path) -> Result<bool> {
    let manifests = entries(&folder.join("revisions/sha256"))?;
    let tags = entries(&folder.join("tags"))?;
    let links = manifests.iter().map(|manifest| manifest.join("link"));
    let mut links = links.chain(tags.iter().map(|tag| tag.join("current/link")));
    Ok(links.any(|link| link.exists()))
}

/// Of a folder that may be gone.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        all => all.with_context(|| format!("reading {}", folder.display()))?,
    };
    let paths = all.map(|entry| Ok(entry?.path()));
    paths.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_is_a_services_by_its_repository() {
        let id = ServiceId::new();
        let image = json!({
            "RepoTags": null,
            "RepoDigests": [format!("10.96.0.1:5000/org_1/{id}@sha256:12"), "library/python@sha256:34"],
        });
        let found: Vec<_> = names(&image).filter_map(service_of).collect();
        assert_eq!(found, [id]);
    }

    #[test]
    fn the_registry_has_what_has_a_manifest_or_a_tag() {
        let folder = tempfile::tempdir().unwrap();
        let [deleted, manifest, tag] = [(); 3].map(|()| ServiceId::new());
        let make = |service: ServiceId, path: &str| {
            let repository = folder.path().join("org_1").join(service.to_string());
            let path = repository.join("_manifests").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        make(deleted, "revisions/sha256/12/left");
        make(manifest, "revisions/sha256/12/link");
        make(tag, "tags/bld_1/current/link");
        let found = in_registry(folder.path()).unwrap();
        assert_eq!(found, BTreeSet::from([manifest, tag]));
    }
}
