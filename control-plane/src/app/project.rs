//! Projects: groups of environments.

use api::{
    page::Page,
    problem::Code,
    project::{CreateProject, Project, UpdateProject},
};
use domain::{
    id::{EnvironmentId, OrganizationId, ProjectId},
    name::Name,
};
use serde_json::json;

use crate::{
    store::{self, event::NewEvent, page::Paging},
    waker::Topic,
    workflow::deletion,
};

use super::{
    Action, Context, Error, OnConstraint as _, Resource, authorize,
    idempotency::{self, Begun},
    version::{Expected, mismatch},
};

/// The environment that every project begins with. Default hostnames leave it out.
const FIRST_ENVIRONMENT: &str = "production";

/// The projects of an organization.
///
/// # Errors
/// When there is no such organization for the actor.
pub async fn list(
    context: &Context,
    organization: OrganizationId,
    paging: Paging,
) -> Result<Page<Project>, Error> {
    let resource = Resource::Organization(organization);
    let grant = authorize(context, Action::ProjectList, resource).await?;
    let mut tx = grant.read(context).await?;
    Ok(store::project::list(&mut tx, organization, paging).await?)
}

/// Makes a project with its first environment.
///
/// # Errors
/// When not allowed, or the name is taken.
pub async fn create(
    context: &Context,
    organization: OrganizationId,
    request: CreateProject,
) -> Result<Project, Error> {
    let resource = Resource::Organization(organization);
    let grant = authorize(context, Action::ProjectCreate, resource).await?;
    let first: Name = FIRST_ENVIRONMENT
        .parse()
        .map_err(|e| Error::Internal(format!("{FIRST_ENVIRONMENT}: {e}")))?;
    let mut tx = match idempotency::begin(context, grant.mutate(context).await?).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    let project = store::project::insert(&mut tx, organization, ProjectId::new(), &request.name)
        .await
        .on_constraint("project_name", || taken(&request.name))?;
    let environment = EnvironmentId::new();
    store::environment::insert(&mut tx, organization, project.id, environment, &first).await?;
    tx.event(NewEvent::new("project.created", project.id));
    tx.event(NewEvent::new("environment.created", environment));
    let entry = context.did_with(grant.action, project.id, json!({ "name": project.name }));
    tx.commit(entry, project).await
}

/// One project.
///
/// # Errors
/// When there is none for the actor.
pub async fn get(context: &Context, id: ProjectId) -> Result<Project, Error> {
    let grant = authorize(context, Action::ProjectGet, Resource::Project(id)).await?;
    let mut tx = grant.read(context).await?;
    let found = store::project::find(&mut tx, id).await?;
    found.ok_or_else(|| Error::not_found("project", id))
}

/// Renames a project.
///
/// # Errors
/// When not allowed, the name is taken, or the version is another one.
pub async fn update(
    context: &Context,
    id: ProjectId,
    expected: Expected,
    request: UpdateProject,
) -> Result<Project, Error> {
    let grant = authorize(context, Action::ProjectUpdate, Resource::Project(id)).await?;
    let mut tx = grant.mutate(context).await?;
    let project = store::project::update(&mut tx, id, expected.version(), &request.name)
        .await
        .on_constraint("project_name", || taken(&request.name))?
        .ok_or_else(|| mismatch("project"))?;
    tx.event(NewEvent::new("project.updated", id));
    let entry = context.did_with(grant.action, id, json!({ "name": request.name }));
    context.commit(tx, entry, &[]).await?;
    Ok(project)
}

/// Deletes a project and all in it: what runs is stopped, and nothing is left behind.
///
/// # Errors
/// When not allowed, or the version is another one.
pub async fn delete(context: &Context, id: ProjectId, expected: Expected) -> Result<(), Error> {
    let grant = authorize(context, Action::ProjectDelete, Resource::Project(id)).await?;
    let mut tx = grant.mutate(context).await?;
    let found = store::project::find(&mut tx, id).await?;
    let name = found.ok_or_else(|| Error::not_found("project", id))?.name;
    if !store::project::delete(&mut tx, id, expected.version()).await? {
        return Err(mismatch("project"));
    }
    deletion::WORKFLOW
        .begin(&mut tx, Some(grant.organization), &id, name.as_str())
        .await?;
    tx.event(NewEvent::new("project.deleted", id));
    let entry = context.did(grant.action, id);
    context.commit(tx, entry, &[Topic::Workflows]).await
}

fn taken(name: &Name) -> Error {
    Error::refused(
        Code::NameTaken,
        format!("the organization has a project called {name} already"),
    )
}
