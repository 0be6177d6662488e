//! Signing in with a password, signing out, and who one is.

use api::session::{CreateSession, Me, Session};
use chrono::Utc;
use domain::id::SessionId;
use secrecy::SecretString;

use crate::{
    State, audit,
    identity::{
        Credential,
        token::{Kind, Token},
    },
    store::{
        self,
        session::NewSession,
        tx::{Mutation, SystemTx},
    },
};

use super::{Action, Context, Error, authorize_platform};

/// Signs a person in. Takes as long for one that doesn't exist.
///
/// # Errors
/// When address and password don't fit, or too many sign in at once.
pub async fn create(
    state: &State,
    source: audit::Source,
    user_agent: Option<&str>,
    request: CreateSession,
) -> Result<Session, Error> {
    let mut read = SystemTx::begin(&state.pools).await?;
    let login = store::user::find_login(&mut read, &request.email).await?;
    drop(read);
    let stored = login.as_ref().and_then(|l| l.password_hash.clone());
    let password = SecretString::from(request.password);
    let fits = state.passwords.verify(password, stored).await?;
    let organization = login.as_ref().and_then(|login| login.organization);
    let login = login
        .filter(|_| fits)
        .ok_or(Error::InvalidCredentials { organization })?;
    let token = Token::generate(Kind::Session);
    let new = NewSession {
        id: SessionId::new(),
        user: login.user.id,
        token_hash: token.hash(),
        expires_at: Utc::now() + state.config.limits.session.duration(),
        address: source.address,
        user_agent,
    };
    let mut tx = Mutation::platform(&state.pools, organization).await?;
    store::session::insert(&mut tx, &new).await?;
    let source = audit::Source {
        actor: audit::ActorId::User(login.user.id),
        ..source
    };
    let entry = audit::Entry::success(source, Action::SessionCreate.as_str(), new.id);
    tx.commit(entry).await?;
    Ok(Session {
        id: new.id,
        token: token.reveal().to_owned(),
        expires_at: new.expires_at,
        user: login.user,
    })
}

/// Ends the session that the request came with, at once.
///
/// # Errors
/// When the request came with an API token.
pub async fn end_current(context: &Context) -> Result<(), Error> {
    let grant = authorize_platform(context, Action::SessionDelete)?;
    let Credential::Session(id) = context.actor.credential else {
        return Err(Error::refused(
            api::Code::Conflict,
            "an API token has no session to end; revoke the token instead",
        ));
    };
    let mut tx = grant.mutate(context).await?;
    store::session::end(&mut tx, id).await?;
    context
        .commit(tx, context.did(grant.action, id), &[])
        .await?;
    context.state.sessions.forget();
    Ok(())
}

/// Who the actor is, and what of.
///
/// # Errors
/// When the database can't be reached.
pub async fn me(context: &Context) -> Result<Me, Error> {
    let grant = authorize_platform(context, Action::MeGet)?;
    let mut tx = grant.read(context).await?;
    let user = store::user::find(&mut tx, context.actor.user).await?;
    let mut user = user.ok_or_else(|| Error::not_found("user", context.actor.user))?;
    user.is_platform_admin = context.actor.platform_admin;
    let memberships = store::organization::memberships(&mut tx, user.id).await?;
    let organizations = memberships
        .into_iter()
        .filter_map(|mut membership| {
            let held = membership.role;
            membership.role = context.actor.limit(membership.organization_id, held)?;
            Some(membership)
        })
        .collect();
    Ok(Me {
        user,
        organizations,
    })
}
