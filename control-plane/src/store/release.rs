//! Making builds and releases: a service's variables as they are now, and their frozen copies.

use std::collections::BTreeMap;

use domain::{
    deployment::machine::Failure,
    id::{BuildId, EnvironmentId, OrganizationId, ReleaseId, ServiceId},
    reference::{Key, Scope},
    spec::ServiceSpec,
};
use protocol::item::BuildSource;
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

use super::{
    Error,
    deployment::Deployment,
    placement::Service,
    tx::{Access as _, SystemTx},
};
use crate::secrets::{Label, Sealed};

/// A variable of the service's environment, still sealed.
pub struct Variable {
    pub key: Key,
    pub label: Label,
    pub sealed: Sealed,
}

#[derive(FromRow)]
struct VariableRow {
    service_id: Option<Uuid>,
    service_name: Option<String>,
    name: String,
    value_version: i64,
    ciphertext: Vec<u8>,
    wrapped_key: Vec<u8>,
}

/// Every variable of an environment: the shared ones and those of all its services.
pub async fn variables(
    tx: &mut SystemTx,
    organization: OrganizationId,
    environment: EnvironmentId,
) -> Result<Vec<Variable>, Error> {
    let rows: Vec<VariableRow> = sqlx::query_as(
        "select v.service_id, s.name as service_name, v.name, v.value_version, v.ciphertext, v.wrapped_key
         from variable v left join service s on s.id = v.service_id
         where v.organization_id = $1 and v.environment_id = $2 and s.deleted_at is null",
    )
    .bind(organization.uuid())
    .bind(environment.uuid())
    .fetch_all(tx.executor())
    .await?;
    rows.into_iter()
        .map(|row| variable(row, organization, environment))
        .collect()
}

fn variable(
    row: VariableRow,
    organization: OrganizationId,
    environment: EnvironmentId,
) -> Result<Variable, Error> {
    let corrupt = |error: String| Error::corrupt("variable's name", error);
    let (scope, owner) = match (row.service_id, row.service_name) {
        (Some(id), Some(name)) => {
            let name = name
                .parse()
                .map_err(|e: domain::name::InvalidName| corrupt(e.to_string()))?;
            (Scope::Service(name), ServiceId::from(id).to_string())
        }
        _ => (Scope::Shared, environment.to_string()),
    };
    let label = Label::variable(organization, owner, &row.name, row.value_version);
    let name = row
        .name
        .parse()
        .map_err(|e: domain::name::InvalidVariableName| corrupt(e.to_string()))?;
    Ok(Variable {
        key: Key { scope, name },
        label,
        sealed: Sealed {
            ciphertext: row.ciphertext,
            wrapped_key: row.wrapped_key,
        },
    })
}

/// The names of an environment's services with their ports, and the default hostname of each.
pub async fn neighbours(
    tx: &mut SystemTx,
    organization: OrganizationId,
    environment: EnvironmentId,
) -> Result<Vec<(String, ServiceSpec, Option<String>)>, Error> {
    let rows: Vec<(String, Json<ServiceSpec>, Option<String>)> = sqlx::query_as(
        "select s.name, s.spec, (select min(hostname) from domain d where d.organization_id = $1
            and d.service_id = s.id and d.kind = 'default')
         from service s where s.organization_id = $1 and s.environment_id = $2 and s.deleted_at is null",
    )
    .bind(organization.uuid())
    .bind(environment.uuid())
    .fetch_all(tx.executor())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(name, spec, hostname)| (name, spec.0, hostname))
        .collect())
}

/// A new build, waiting for a node.
pub async fn insert_build(
    tx: &mut SystemTx,
    deployment: &Deployment,
    id: BuildId,
    source: &BuildSource,
) -> Result<(), Error> {
    sqlx::query(
        "insert into build (id, organization_id, service_id, deployment_id, source) values ($1, $2, $3, $4, $5)",
    )
    .bind(id.uuid())
    .bind(deployment.organization.uuid())
    .bind(deployment.service.uuid())
    .bind(deployment.id.uuid())
    .bind(Json(source))
    .execute(tx.executor())
    .await?;
    Ok(())
}

pub async fn insert_build_secret(
    tx: &mut SystemTx,
    organization: OrganizationId,
    build: BuildId,
    name: &str,
    sealed: &Sealed,
) -> Result<(), Error> {
    sqlx::query(
        "insert into build_secret (organization_id, build_id, name, ciphertext, wrapped_key)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(organization.uuid())
    .bind(build.uuid())
    .bind(name)
    .bind(&sealed.ciphertext)
    .bind(&sealed.wrapped_key)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// The SHA-256 of an uploaded archive.
pub async fn archive_sha256(
    tx: &mut SystemTx,
    id: domain::id::ArchiveId,
    service: ServiceId,
) -> Result<Option<String>, Error> {
    Ok(
        sqlx::query_scalar("select sha256 from archive where id = $1 and service_id = $2")
            .bind(id.uuid())
            .bind(service.uuid())
            .fetch_optional(tx.executor())
            .await?,
    )
}

/// What a release's image comes from, and with it its commit.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// Made for it.
    Build(BuildId),
    /// That of an older release.
    Release(ReleaseId),
}

/// A release that is being made.
pub struct New<'a> {
    pub id: ReleaseId,
    pub image: String,
    pub content_digest: String,
    pub origin: Origin,
    /// Version of each variable's frozen value.
    pub variables: &'a BTreeMap<String, i64>,
}

/// Makes a release with the service's next number; the service's row is held by the caller.
pub async fn insert(
    tx: &mut SystemTx,
    deployment: &Deployment,
    release: &New<'_>,
) -> Result<(), Error> {
    let (build, older) = match release.origin {
        Origin::Build(build) => (Some(build.uuid()), None),
        Origin::Release(older) => (None, Some(older.uuid())),
    };
    sqlx::query(
        "insert into release (id, organization_id, service_id, number, image, spec, variables,
            content_digest, build_id, commit_sha, commit_title, commit_author, commit_branch,
            image_reference, image_source_digest)
         select $1, $2, $3, (select coalesce(max(number), 0) + 1 from release
                where organization_id = $2 and service_id = $3), $4, $5, $6, $7, made.*
         from (select b.id, b.commit_sha, b.commit_title, b.commit_author, b.commit_branch,
                    b.source ->> 'image', b.source_digest
                from build b where b.id = $8
            union all select r.build_id, r.commit_sha, r.commit_title, r.commit_author, r.commit_branch,
                    r.image_reference, r.image_source_digest
                from release r where r.id = $9) made",
    )
    .bind(release.id.uuid())
    .bind(deployment.organization.uuid())
    .bind(deployment.service.uuid())
    .bind(&release.image)
    .bind(Json(&deployment.spec))
    .bind(Json(release.variables))
    .bind(&release.content_digest)
    .bind(build)
    .bind(older)
    .execute(tx.executor())
    .await?;
    Ok(())
}

pub async fn insert_secret(
    tx: &mut SystemTx,
    service: &Service,
    release: ReleaseId,
    name: &str,
    sealed: &Sealed,
) -> Result<(), Error> {
    sqlx::query(
        "insert into release_secret (organization_id, release_id, name, value_version, ciphertext, wrapped_key)
         values ($1, $2, $3, 1, $4, $5)",
    )
    .bind(service.organization.uuid())
    .bind(release.uuid())
    .bind(name)
    .bind(&sealed.ciphertext)
    .bind(&sealed.wrapped_key)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Whether a release is this service's, as a rollback asks.
pub async fn exists(
    tx: &mut SystemTx,
    service: ServiceId,
    release: ReleaseId,
) -> Result<Result<(), Failure>, Error> {
    let found: bool = sqlx::query_scalar(
        "select exists (select 1 from release where id = $1 and service_id = $2)",
    )
    .bind(release.uuid())
    .bind(service.uuid())
    .fetch_one(tx.executor())
    .await?;
    Ok(if found {
        Ok(())
    } else {
        Err(not_found(release))
    })
}

/// The image of a release of this service.
pub async fn image(
    tx: &mut SystemTx,
    service: ServiceId,
    release: ReleaseId,
) -> Result<Option<String>, Error> {
    Ok(
        sqlx::query_scalar("select image from release where id = $1 and service_id = $2")
            .bind(release.uuid())
            .bind(service.uuid())
            .fetch_optional(tx.executor())
            .await?,
    )
}

/// A deployment asks for a release that is not there.
pub fn not_found(release: ReleaseId) -> Failure {
    Failure::new(
        "release_not_found",
        format!("there is no release {release} of this service; choose another one"),
    )
}
