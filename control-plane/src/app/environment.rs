//! Environments: running sets of a project's services.

use api::{
    environment::{CreateEnvironment, Environment, UpdateEnvironment},
    page::Page,
    problem::Code,
};
use domain::{
    id::{EnvironmentId, ProjectId},
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

/// The environments of a project.
///
/// # Errors
/// When there is no such project for the actor.
pub async fn list(
    context: &Context,
    project: ProjectId,
    paging: Paging,
) -> Result<Page<Environment>, Error> {
    let grant = authorize(context, Action::EnvironmentList, Resource::Project(project)).await?;
    let mut tx = grant.read(context).await?;
    Ok(store::environment::list(&mut tx, project, paging).await?)
}

/// Makes an environment.
///
/// # Errors
/// When not allowed, or the name is taken.
pub async fn create(
    context: &Context,
    project: ProjectId,
    request: CreateEnvironment,
) -> Result<Environment, Error> {
    let resource = Resource::Project(project);
    let grant = authorize(context, Action::EnvironmentCreate, resource).await?;
    let mut tx = match idempotency::begin(context, grant.mutate(context).await?).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    let id = EnvironmentId::new();
    let environment =
        store::environment::insert(&mut tx, grant.organization, project, id, &request.name)
            .await
            .on_constraint("environment_name", || taken(&request.name))?;
    tx.event(NewEvent::new("environment.created", id));
    let entry = context.did_with(grant.action, id, json!({ "name": environment.name }));
    tx.commit(entry, environment).await
}

/// One environment.
///
/// # Errors
/// When there is none for the actor.
pub async fn get(context: &Context, id: EnvironmentId) -> Result<Environment, Error> {
    let grant = authorize(context, Action::EnvironmentGet, Resource::Environment(id)).await?;
    let mut tx = grant.read(context).await?;
    let found = store::environment::find(&mut tx, id).await?;
    found.ok_or_else(|| Error::not_found("environment", id))
}

/// Renames an environment.
///
/// # Errors
/// When not allowed, the name is taken, or the version is another one.
pub async fn update(
    context: &Context,
    id: EnvironmentId,
    expected: Expected,
    request: UpdateEnvironment,
) -> Result<Environment, Error> {
    let resource = Resource::Environment(id);
    let grant = authorize(context, Action::EnvironmentUpdate, resource).await?;
    let mut tx = grant.mutate(context).await?;
    let environment = store::environment::update(&mut tx, id, expected.version(), &request.name)
        .await
        .on_constraint("environment_name", || taken(&request.name))?
        .ok_or_else(|| mismatch("environment"))?;
    tx.event(NewEvent::new("environment.updated", id));
    let entry = context.did_with(grant.action, id, json!({ "name": request.name }));
    context.commit(tx, entry, &[]).await?;
    Ok(environment)
}

/// Deletes an environment and all in it: what runs is stopped, and nothing is left behind.
///
/// # Errors
/// When not allowed, or the version is another one.
pub async fn delete(context: &Context, id: EnvironmentId, expected: Expected) -> Result<(), Error> {
    let resource = Resource::Environment(id);
    let grant = authorize(context, Action::EnvironmentDelete, resource).await?;
    let mut tx = grant.mutate(context).await?;
    let found = store::environment::find(&mut tx, id).await?;
    let name = found
        .ok_or_else(|| Error::not_found("environment", id))?
        .name;
    if !store::environment::delete(&mut tx, id, expected.version()).await? {
        return Err(mismatch("environment"));
    }
    deletion::WORKFLOW
        .begin(&mut tx, Some(grant.organization), &id, name.as_str())
        .await?;
    tx.event(NewEvent::new("environment.deleted", id));
    let entry = context.did(grant.action, id);
    context.commit(tx, entry, &[Topic::Workflows]).await
}

fn taken(name: &Name) -> Error {
    Error::refused(
        Code::NameTaken,
        format!("the project has an environment called {name} already"),
    )
}
