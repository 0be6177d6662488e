//! Deployments as people ask for them and see them. How they go on is the deployment machine's.

use std::collections::HashMap;

use sqlx::postgres::PgRow;
use uuid::Uuid;

use api::{
    deployment::{Deployment, DeploymentError, DeploymentSource, DeploymentStep},
    page::Page,
};
use domain::{
    deployment::{Reason, Source},
    id::{DeploymentId, OrganizationId, ReleaseId, ServiceId, UserId},
    spec::ServiceSpec,
};

use super::{
    Connection, Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, Write},
};

/// A deployment that is asked for.
pub struct NewDeployment<'a> {
    /// Its id.
    pub id: DeploymentId,
    /// What is changed.
    pub service: ServiceId,
    /// What it puts into place, frozen.
    pub source: &'a Source,
    /// The specification, frozen.
    pub spec: &'a ServiceSpec,
    /// Why.
    pub reason: Reason,
    /// Who asked.
    pub created_by: UserId,
    /// W3C trace context of the request.
    pub traceparent: Option<&'a str>,
}

/// Stores a deployment in its first state. The service's row must be locked: it keeps numbers apart.
///
/// # Errors
/// When the database can't be reached.
pub async fn insert(
    tx: &mut impl Write,
    organization: OrganizationId,
    new: &NewDeployment<'_>,
) -> Result<(), Error> {
    sqlx::query(
        "insert into deployment (id, organization_id, service_id, number, source, spec, reason,
             created_by, traceparent, state)
         select $1, $2, $3, coalesce(max(number), 0) + 1, $4, $5, $6, $7, $8, 'queued'
         from deployment where service_id = $3",
    )
    .bind(new.id.uuid())
    .bind(organization.uuid())
    .bind(new.service.uuid())
    .bind(sqlx::types::Json(new.source))
    .bind(sqlx::types::Json(new.spec))
    .bind(new.reason.as_str())
    .bind(new.created_by.uuid())
    .bind(new.traceparent)
    .execute(tx.executor())
    .await?;
    sqlx::query(
        "insert into deployment_step (organization_id, deployment_id, position, state)
         values ($1, $2, 1, 'queued')",
    )
    .bind(organization.uuid())
    .bind(new.id.uuid())
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Asks for cancellation; false when edges take it over already, or it has ended.
///
/// # Errors
/// When the database can't be reached.
pub async fn request_cancel(tx: &mut impl Write, id: DeploymentId) -> Result<bool, Error> {
    let query = sqlx::query(
        "update deployment set cancel_requested = true, version = version + 1
         where id = $1 and finished_at is null and state not in ('shifting', 'draining')",
    )
    .bind(id.uuid());
    query::changed(tx, query).await
}

/// The release of the deployment that serves, or that served last; and the image that was asked for,
/// when it was not built.
///
/// # Errors
/// When the database can't be reached.
pub async fn current_release(
    tx: &mut impl Access,
    service: ServiceId,
) -> Result<Option<(ReleaseId, Option<String>)>, Error> {
    let found: Option<(Uuid, Option<String>)> = sqlx::query_as(
        "select r.id, r.image_reference from service s
         join deployment d on d.organization_id = s.organization_id and d.id = s.current_deployment_id
         join release r on r.organization_id = d.organization_id and r.id = d.release_id
         where s.id = $1",
    )
    .bind(service.uuid())
    .fetch_optional(tx.executor())
    .await?;
    Ok(found.map(|(id, image)| (id.into(), image)))
}

macro_rules! select_deployment {
    ($rest:literal) => {
        concat!(
            "select d.*, coalesce(r.commit_sha, b.commit_sha) as commit_sha,
                 coalesce(r.commit_title, b.commit_title) as commit_title,
                 coalesce(r.commit_author, b.commit_author) as commit_author,
                 coalesce(r.commit_branch, b.commit_branch) as commit_branch
             from deployment d
             left join release r on r.organization_id = d.organization_id and r.id = d.release_id
             left join lateral (select commit_sha, commit_title, commit_author, commit_branch from build
                  where build.organization_id = d.organization_id and build.deployment_id = d.id
                  order by build.created_at desc limit 1) b on true ",
            $rest
        )
    };
}

fn deployment(row: &PgRow) -> Result<Deployment, Error> {
    let error_code: Option<String> = row.value("error_code")?;
    let error_message: Option<String> = row.value("error_message")?;
    Ok(Deployment {
        id: row.id("id")?,
        service_id: row.id("service_id")?,
        number: row.value("number")?,
        source: shown_source(row.json("source")?),
        reason: row.json_text("reason")?,
        state: row.parsed("state")?,
        state_since: row.value("state_since")?,
        steps: Vec::new(),
        release_id: row.id_opt("release_id")?,
        commit: super::release_api::commit(row)?,
        error: error_code.map(|code| DeploymentError {
            code,
            message: error_message.unwrap_or_default(),
        }),
        cancel_requested: row.value("cancel_requested")?,
        requests: row.value("requests")?,
        failed_requests: row.value("failed_requests")?,
        created_by: row.id_opt("created_by")?,
        version: row.value("version")?,
        created_at: row.value("created_at")?,
        finished_at: row.value("finished_at")?,
    })
}

fn shown_source(source: Source) -> DeploymentSource {
    match source {
        Source::Git { reference, .. } => DeploymentSource::Git { reference },
        Source::Archive { id } => DeploymentSource::Archive { archive_id: id },
        Source::Image { image } => DeploymentSource::Image { image: Some(image) },
        Source::Current { .. } => DeploymentSource::Current,
        Source::Release { id } => DeploymentSource::Release { release_id: id },
    }
}

/// One deployment.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, id: DeploymentId) -> Result<Option<Deployment>, Error> {
    let row = sqlx::query(select_deployment!("where d.id = $1"))
        .bind(id.uuid())
        .fetch_optional(tx.executor())
        .await?;
    let mut found: Vec<Deployment> = row.iter().map(deployment).collect::<Result<_, _>>()?;
    add_steps(tx.executor(), &mut found).await?;
    Ok(found.pop())
}

/// The deployments of a service, newest first.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    service: ServiceId,
    paging: Paging,
) -> Result<Page<Deployment>, Error> {
    let query = sqlx::query(select_deployment!(
        "where d.service_id = $1 and ($2::uuid is null or d.id < $2) order by d.id desc limit $3"
    ))
    .bind(service.uuid());
    let mut page = query::page(tx, query, paging, deployment, |d| d.id.uuid()).await?;
    add_steps(tx.executor(), &mut page.items).await?;
    Ok(page)
}

async fn add_steps(
    connection: Connection<'_>,
    deployments: &mut [Deployment],
) -> Result<(), Error> {
    let ids: Vec<Uuid> = deployments.iter().map(|d| d.id.uuid()).collect();
    let rows = sqlx::query(
        "select deployment_id, state, at from deployment_step where deployment_id = any($1)
         order by deployment_id, position",
    )
    .bind(&ids)
    .fetch_all(connection)
    .await?;
    let mut steps: HashMap<Uuid, Vec<DeploymentStep>> = HashMap::new();
    for row in &rows {
        let step = DeploymentStep {
            state: row.parsed("state")?,
            at: row.value("at")?,
        };
        steps
            .entry(row.value("deployment_id")?)
            .or_default()
            .push(step);
    }
    for deployment in deployments {
        deployment.steps = steps.remove(&deployment.id.uuid()).unwrap_or_default();
    }
    Ok(())
}
