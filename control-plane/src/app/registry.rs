//! Tokens for the image registry, as its clients ask for them.

use std::collections::BTreeSet;

use protocol::join::RegistryToken;

use crate::{
    State,
    identity::Actor,
    registry::{self, Issuer, Subject},
    store::{self, tx::SystemTx},
};

use super::Error;

/// A token for what the actor gets of the scopes that are asked for; nobody known gets base images.
///
/// # Errors
/// When the database can't be reached, or signing fails.
pub async fn token(
    state: &State,
    actor: Option<&Actor>,
    scopes: &[String],
) -> Result<RegistryToken, Error> {
    let subject = match actor {
        None => Subject::Anonymous,
        Some(actor) => member(state, actor).await?,
    };
    let issued = Issuer::new(&state.keys.registry)
        .and_then(|issuer| registry::answer(&issuer, &subject, scopes.iter().map(String::as_str)));
    issued.map_err(|e| Error::Internal(e.to_string()))
}

async fn member(state: &State, actor: &Actor) -> Result<Subject, Error> {
    let mut tx = SystemTx::begin(&state.pools).await?;
    let memberships = store::organization::memberships(&mut tx, actor.user).await?;
    let organizations: BTreeSet<_> = memberships
        .into_iter()
        .filter(|m| actor.limit(m.organization_id, m.role).is_some())
        .map(|m| m.organization_id)
        .collect();
    Ok(Subject::Member {
        id: actor.audit_id().id().unwrap_or_default(),
        organizations,
        platform_admin: actor.platform_admin,
    })
}
