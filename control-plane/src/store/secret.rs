//! Sealed values, wherever they are stored.

use std::collections::HashMap;

use domain::id::{BuildId, CertificateId, DeployKeyId, OrganizationId, ProjectId, ReleaseId};
use uuid::Uuid;

use super::{
    Error,
    tx::{Access as _, SystemTx},
};
use crate::{
    feed::secrets::SecretKey,
    secrets::{Label, Sealed},
};

type Found = HashMap<SecretKey, (Label, Sealed)>;

type Bytes = Vec<u8>;

/// The sealed values that exist, each with the label it opens under.
pub async fn find(tx: &mut SystemTx, keys: &[&SecretKey]) -> Result<Found, Error> {
    let mut found = Found::new();
    releases(tx, keys, &mut found).await?;
    builds(tx, keys, &mut found).await?;
    deploy_keys(tx, keys, &mut found).await?;
    certificates(tx, keys, &mut found).await?;
    Ok(found)
}

async fn releases(tx: &mut SystemTx, keys: &[&SecretKey], found: &mut Found) -> Result<(), Error> {
    let wanted: Vec<Uuid> = ids(keys, |key| match key {
        SecretKey::Release(id, _) => Some(id.uuid()),
        _ => None,
    });
    if wanted.is_empty() {
        return Ok(());
    }
    let rows: Vec<(Uuid, Uuid, String, i64, Bytes, Bytes)> = sqlx::query_as(
        "select organization_id, release_id, name, value_version, ciphertext, wrapped_key
         from release_secret where release_id = any($1)",
    )
    .bind(&wanted)
    .fetch_all(tx.executor())
    .await?;
    for (organization, release, name, version, ciphertext, wrapped_key) in rows {
        let release = ReleaseId::from(release);
        let label = Label::variable(OrganizationId::from(organization), release, &name, version);
        let sealed = Sealed {
            ciphertext,
            wrapped_key,
        };
        found.insert(SecretKey::Release(release, name), (label, sealed));
    }
    Ok(())
}

async fn builds(tx: &mut SystemTx, keys: &[&SecretKey], found: &mut Found) -> Result<(), Error> {
    let wanted: Vec<Uuid> = ids(keys, |key| match key {
        SecretKey::Build(id, _) => Some(id.uuid()),
        _ => None,
    });
    if wanted.is_empty() {
        return Ok(());
    }
    let rows: Vec<(Uuid, Uuid, String, Bytes, Bytes)> = sqlx::query_as(
        "select organization_id, build_id, name, ciphertext, wrapped_key
         from build_secret where build_id = any($1)",
    )
    .bind(&wanted)
    .fetch_all(tx.executor())
    .await?;
    for (organization, build, name, ciphertext, wrapped_key) in rows {
        let build = BuildId::from(build);
        let label = Label::variable(OrganizationId::from(organization), build, &name, 1);
        let sealed = Sealed {
            ciphertext,
            wrapped_key,
        };
        found.insert(SecretKey::Build(build, name), (label, sealed));
    }
    Ok(())
}

async fn deploy_keys(
    tx: &mut SystemTx,
    keys: &[&SecretKey],
    found: &mut Found,
) -> Result<(), Error> {
    let wanted: Vec<Uuid> = ids(keys, |key| match key {
        SecretKey::DeployKey(id) => Some(id.uuid()),
        _ => None,
    });
    if wanted.is_empty() {
        return Ok(());
    }
    let rows: Vec<(Uuid, Uuid, Uuid, String, Bytes, Bytes)> = sqlx::query_as(
        "select id, organization_id, project_id, name, ciphertext, wrapped_key
         from deploy_key where id = any($1)",
    )
    .bind(&wanted)
    .fetch_all(tx.executor())
    .await?;
    for (id, organization, project, name, ciphertext, wrapped_key) in rows {
        let (organization, project) =
            (OrganizationId::from(organization), ProjectId::from(project));
        let sealed = Sealed {
            ciphertext,
            wrapped_key,
        };
        let label = Label::deploy_key(organization, project, name);
        found.insert(SecretKey::DeployKey(DeployKeyId::from(id)), (label, sealed));
    }
    Ok(())
}

async fn certificates(
    tx: &mut SystemTx,
    keys: &[&SecretKey],
    found: &mut Found,
) -> Result<(), Error> {
    let wanted: Vec<Uuid> = ids(keys, |key| match key {
        SecretKey::Certificate(id) => Some(id.uuid()),
        _ => None,
    });
    if wanted.is_empty() {
        return Ok(());
    }
    let rows: Vec<(Uuid, i64, Bytes, Bytes)> = sqlx::query_as(
        "select id, key_version, key_sealed, key_wrapped from certificate where id = any($1)
         union all
         select id, key_version, key_sealed, key_wrapped from domain_certificate where id = any($1)",
    )
    .bind(&wanted)
    .fetch_all(tx.executor())
    .await?;
    for (id, version, ciphertext, wrapped_key) in rows {
        let id = CertificateId::from(id);
        let sealed = Sealed {
            ciphertext,
            wrapped_key,
        };
        let label = Label::certificate(id, version);
        found.insert(SecretKey::Certificate(id), (label, sealed));
    }
    Ok(())
}

fn ids(keys: &[&SecretKey], of: impl Fn(&SecretKey) -> Option<Uuid>) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = keys.iter().filter_map(|key| of(key)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
