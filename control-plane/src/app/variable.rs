//! Variables: sealed at rest, shown only when they aren't sealed, and every look at values is
//! written down.

use api::{
    page::Page,
    problem::Code,
    variable::{SetVariable, Variable},
};
use chrono::Utc;
use domain::{
    id::{EnvironmentId, OrganizationId, ServiceId, VariableId},
    name::{Name, VariableName},
    reference::{self, Key, Scope, VALUE_MAX, Variables},
};
use serde_json::json;

use crate::{
    secrets::Label,
    store::{
        self,
        event::NewEvent,
        tx::Access,
        variable::{Owner, PER_OWNER_MAX, StoredVariable},
    },
};

use super::{
    Action, Context, Error, OnConstraint as _, Resource, authorize,
    version::{Expected, mismatch},
};

/// Whose variables.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// Shared by an environment.
    Environment(EnvironmentId),
    /// A service's own.
    Service(ServiceId),
}

impl Of {
    const fn resource(self) -> Resource {
        match self {
            Self::Environment(id) => Resource::Environment(id),
            Self::Service(id) => Resource::Service(id),
        }
    }

    /// The action on a service's own variables, or on shared ones.
    const fn action(self, own: Action, shared: Action) -> Action {
        match self {
            Self::Environment(_) => shared,
            Self::Service(_) => own,
        }
    }

    async fn owner(self, tx: &mut impl Access) -> Result<Owner, Error> {
        match self {
            Self::Environment(environment) => Ok(Owner {
                environment,
                service: None,
            }),
            Self::Service(id) => {
                let service = store::service::find(tx, id).await?;
                let service = service.ok_or_else(|| Error::not_found("service", id))?;
                Ok(Owner {
                    environment: service.environment_id,
                    service: Some(id),
                })
            }
        }
    }
}

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment(id) => id.fmt(f),
            Self::Service(id) => id.fmt(f),
        }
    }
}

/// The variables, with the values of those that aren't sealed. Written to the audit log before the
/// answer.
///
/// # Errors
/// When not allowed, or the audit event can't be written.
pub async fn list(context: &Context, of: Of) -> Result<Page<Variable>, Error> {
    let grant = authorize(
        context,
        of.action(Action::VariableList, Action::SharedVariableList),
        of.resource(),
    )
    .await?;
    let mut tx = grant.read(context).await?;
    let owner = of.owner(&mut tx).await?;
    let stored = store::variable::list(&mut tx, owner).await?;
    drop(tx);
    let mut items = Vec::with_capacity(stored.len());
    for variable in stored {
        items.push(shown(context, grant.organization, variable).await?);
    }
    let read = context.did_with(grant.action, of, json!({ "variables": items.len() }));
    context
        .state
        .recorder
        .record(Some(grant.organization), read)
        .await?;
    Ok(Page {
        items,
        next_cursor: None,
    })
}

/// Sets a variable. `${{secret(n)}}` is filled in once, here.
///
/// # Errors
/// When not allowed, the value can't be, or the version is another one.
pub async fn set(
    context: &Context,
    of: Of,
    name: VariableName,
    expected: Option<Expected>,
    request: SetVariable,
) -> Result<Variable, Error> {
    let grant = authorize(
        context,
        of.action(Action::VariableSet, Action::SharedVariableSet),
        of.resource(),
    )
    .await?;
    let value = written(&request.value)?;
    let mut tx = grant.mutate(context).await?;
    let owner = of.owner(&mut tx).await?;
    let before = store::variable::lock(&mut tx, owner, &name).await?;
    check_expected(expected, before.as_ref())?;
    let sealed = request.sealed || before.as_ref().is_some_and(|v| v.sealed);
    let version = before.as_ref().map_or(1, |v| v.version + 1);
    let label = label(grant.organization, owner, &name, version);
    let value = context.state.secrets.seal(&label, value.as_bytes()).await?;
    let variable = StoredVariable {
        id: before.as_ref().map_or_else(VariableId::new, |v| v.id),
        owner,
        name,
        sealed,
        version,
        value,
        updated_at: Utc::now(),
    };
    if before.is_some() {
        store::variable::update(&mut tx, &variable).await?;
    } else {
        if store::variable::count(&mut tx, owner).await? >= PER_OWNER_MAX {
            return Err(Error::refused(
                Code::LimitExceeded,
                format!("there are {PER_OWNER_MAX} variables already; delete some first"),
            ));
        }
        store::variable::insert(&mut tx, grant.organization, &variable)
            .await
            .on_constraint("variable_name", || mismatch("variable"))?;
    }
    let detail = json!({ "name": variable.name, "sealed": sealed, "version": version });
    tx.event(NewEvent::new("variable.updated", of));
    let entry = context.did_with(grant.action, of, detail);
    context.commit(tx, entry, &[]).await?;
    shown(context, grant.organization, variable).await
}

/// Deletes a variable.
///
/// # Errors
/// When not allowed, there is none, or the version is another one.
pub async fn delete(
    context: &Context,
    of: Of,
    name: VariableName,
    expected: Option<Expected>,
) -> Result<(), Error> {
    let grant = authorize(
        context,
        of.action(Action::VariableDelete, Action::SharedVariableDelete),
        of.resource(),
    )
    .await?;
    let mut tx = grant.mutate(context).await?;
    let owner = of.owner(&mut tx).await?;
    let before = store::variable::lock(&mut tx, owner, &name).await?;
    let before = before.ok_or_else(|| Error::not_found("variable", &name))?;
    check_expected(expected, Some(&before))?;
    store::variable::delete(&mut tx, before.id).await?;
    tx.event(NewEvent::new("variable.deleted", of));
    let entry = context.did_with(grant.action, of, json!({ "name": name }));
    context.commit(tx, entry, &[]).await
}

/// Whether a service's variables resolve today, so that a deployment doesn't fail later for it.
///
/// # Errors
/// The first reference that leads nowhere or in a circle.
pub(super) async fn check_references(
    context: &Context,
    tx: &mut impl Access,
    organization: OrganizationId,
    environment: EnvironmentId,
    service: &Name,
) -> Result<(), Error> {
    let mut all = Variables::new();
    for (owner_name, variable) in store::variable::list_environment(tx, environment).await? {
        let scope = owner_name.map_or(Scope::Shared, Scope::Service);
        let key = Key {
            scope,
            name: variable.name.clone(),
        };
        all.insert(key, open(context, organization, &variable).await?);
    }
    reference::resolve(service, &all).map(drop).map_err(refusal)
}

/// The value to be stored: references checked, secrets filled in.
fn written(value: &str) -> Result<String, Error> {
    if value.len() > VALUE_MAX {
        return Err(Error::field("value", "must have at most 64 KiB"));
    }
    if value.contains('\0') {
        return Err(Error::field("value", "can't have a null character"));
    }
    reference::generate(value, random_text).map_err(refusal)
}

fn random_text(length: usize) -> String {
    use rand::distr::{Alphanumeric, SampleString as _};
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

fn refusal(error: reference::Error) -> Error {
    let code = match &error {
        reference::Error::Unresolved { .. } => Code::ReferenceUnresolved,
        reference::Error::Cycle(_) => Code::ReferenceCircular,
        reference::Error::Syntax(_)
        | reference::Error::Unclosed(_)
        | reference::Error::TooLong(_) => return Error::field("value", error.to_string()),
    };
    Error::refused(code, error.to_string())
}

fn check_expected(
    expected: Option<Expected>,
    before: Option<&StoredVariable>,
) -> Result<(), Error> {
    match (expected.and_then(Expected::version), before) {
        (Some(version), Some(before)) if before.version == version => Ok(()),
        (Some(_), _) => Err(mismatch("variable")),
        (None, _) => Ok(()),
    }
}

fn label(organization: OrganizationId, owner: Owner, name: &VariableName, version: i64) -> Label {
    match owner.service {
        Some(service) => Label::variable(organization, service, name, version),
        None => Label::variable(organization, owner.environment, name, version),
    }
}

async fn open(
    context: &Context,
    organization: OrganizationId,
    variable: &StoredVariable,
) -> Result<String, Error> {
    let label = label(
        organization,
        variable.owner,
        &variable.name,
        variable.version,
    );
    let value = context.state.secrets.open_text(&label, &variable.value);
    Ok(value.await?.as_str().to_owned())
}

async fn shown(
    context: &Context,
    organization: OrganizationId,
    variable: StoredVariable,
) -> Result<Variable, Error> {
    let value = if variable.sealed {
        None
    } else {
        Some(open(context, organization, &variable).await?)
    };
    Ok(Variable {
        id: variable.id,
        environment_id: variable.owner.environment,
        service_id: variable.owner.service,
        name: variable.name,
        value,
        sealed: variable.sealed,
        version: variable.version,
        updated_at: variable.updated_at,
    })
}
