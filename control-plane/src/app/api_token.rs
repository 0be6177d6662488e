//! Tokens for programs.

use api::{
    api_token::{ApiToken, CreateApiToken, CreatedApiToken},
    page::Page,
};
use chrono::{Days, Utc};
use domain::id::ApiTokenId;
use serde_json::json;

use crate::{
    identity::{
        Credential,
        token::{Kind, Token},
    },
    store::{
        self,
        api_token::Maker,
        event::NewEvent,
        page::Paging,
        tx::{Mutation, SystemTx},
    },
};

use super::{
    Action, Context, Error, Resource,
    access::authorize_role,
    authorize, authorize_platform,
    idempotency::{self, Begun},
};

/// When nothing else is asked for.
const DAYS_DEFAULT: u32 = 90;
/// At most.
const DAYS_MAX: u32 = 366;

/// The tokens that the actor's user made.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(context: &Context, paging: Paging) -> Result<Page<ApiToken>, Error> {
    let grant = authorize_platform(context, Action::ApiTokenList)?;
    let only = match context.actor.credential {
        Credential::Session(_) => None,
        Credential::ApiToken { organization, .. } => Some(organization),
    };
    let mut tx = grant.read(context).await?;
    Ok(store::api_token::list_of_user(&mut tx, context.actor.user, only, paging).await?)
}

/// Makes a token. Its text is shown once. One that a token makes ends with it at the latest, so that a
/// token that leaked can't be made to last.
///
/// # Errors
/// When not allowed, or it would reach further than its maker.
pub async fn create(context: &Context, request: CreateApiToken) -> Result<CreatedApiToken, Error> {
    let resource = Resource::Organization(request.organization_id);
    let grant = authorize(context, Action::ApiTokenCreate, resource).await?;
    authorize_role(context, grant.organization, request.role).await?;
    if request.platform {
        authorize_platform(context, Action::ApiTokenCreatePlatform)?;
    }
    let days = request.expires_in_days.unwrap_or(DAYS_DEFAULT);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Error::field(
            "expires_in_days",
            format!("must be between 1 and {DAYS_MAX}"),
        ));
    }
    let tx = grant.mutate(context).await?;
    let mut tx = match idempotency::begin::<CreatedApiToken>(context, tx).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    let token = Token::generate(Kind::ApiToken);
    let created_at = Utc::now();
    let expires_at = created_at + Days::new(days.into());
    let (maker, expires_at) = match context.actor.credential {
        Credential::Session(_) => (None, expires_at),
        Credential::ApiToken { id, .. } => {
            let end = store::api_token::expires_at(&mut tx, id).await?;
            (Some(id), end.map_or(expires_at, |end| end.min(expires_at)))
        }
    };
    let api_token = ApiToken {
        id: ApiTokenId::new(),
        organization_id: grant.organization,
        name: request.name,
        role: request.role,
        platform: request.platform,
        expires_at,
        revoked_at: None,
        last_used_at: None,
        created_at,
    };
    let maker = Maker {
        user: context.actor.user,
        token: maker,
    };
    store::api_token::insert(&mut tx, &maker, &api_token, &token.hash()).await?;
    tx.event(NewEvent::new("api_token.created", api_token.id));
    let detail = json!({ "role": api_token.role, "platform": api_token.platform });
    let entry = context.did_with(grant.action, api_token.id, detail);
    let created = CreatedApiToken {
        api_token,
        token: token.reveal().to_owned(),
    };
    tx.commit_secret(entry, created).await
}

/// Revokes a token of the actor's user and those that were made with it, at once.
///
/// # Errors
/// When the actor has no such token.
pub async fn delete(context: &Context, id: ApiTokenId) -> Result<(), Error> {
    let grant = authorize_platform(context, Action::ApiTokenDelete)?;
    let owner = store::api_token::owner(&mut SystemTx::begin(&context.state.pools).await?, id)
        .await?
        .ok_or_else(|| Error::not_found("API token", id))?;
    let reaches = match context.actor.credential {
        Credential::Session(_) => true,
        Credential::ApiToken { organization, .. } => organization == owner.organization,
    };
    if owner.user != context.actor.user || !reaches {
        return Err(Error::NotFound {
            kind: "API token",
            id: id.to_string(),
            foreign: true,
        });
    }
    let mut tx = Mutation::tenant(&context.state.pools, owner.organization).await?;
    store::api_token::revoke(&mut tx, id, Utc::now()).await?;
    tx.event(NewEvent::new("api_token.revoked", id));
    context
        .commit(tx, context.did(grant.action, id), &[])
        .await?;
    context.state.sessions.forget();
    Ok(())
}
