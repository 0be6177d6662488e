//! `admin bootstrap`: the first organization, the first administrator, the first token.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use chrono::{Days, Utc};
use clap::Args;
use secrecy::SecretString;

use api::{api_token::ApiToken, role::Role, user::User};
use domain::{
    id::{ApiTokenId, OrganizationId, UserId},
    name::Name,
};

use crate::{
    State,
    app::Action,
    identity::token::{Kind, Token},
    store::{self, api_token::Maker, tx::Mutation},
};

const TOKEN_DAYS: u64 = 366;

/// Arguments of `bootstrap`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The organization's name.
    #[arg(long)]
    organization: Name,
    /// The administrator's address.
    #[arg(long)]
    email: String,
    /// Holds the administrator's password in its first line.
    #[arg(long)]
    password_file: PathBuf,
    /// Gets an API token of the administrator; left alone when it exists.
    #[arg(long)]
    token_file: PathBuf,
}

/// Makes what is missing.
pub(super) async fn run(state: &State, arguments: Arguments) -> anyhow::Result<()> {
    let user = ensure_user(state, &arguments).await?;
    let organization = ensure_organization(state, &arguments.organization, user).await?;
    if arguments.token_file.exists() {
        return Ok(());
    }
    let token = create_token(state, organization, user).await?;
    super::write_private(&arguments.token_file, token.reveal().as_bytes())
}

async fn ensure_user(state: &State, arguments: &Arguments) -> anyhow::Result<UserId> {
    let mut tx = Mutation::platform(&state.pools, None).await?;
    if let Some(login) = store::user::find_login(&mut tx, &arguments.email).await? {
        return Ok(login.user.id);
    }
    let text = fs::read_to_string(&arguments.password_file)
        .with_context(|| format!("can't read {}", arguments.password_file.display()))?;
    let password = text.lines().next().unwrap_or_default().to_owned();
    let hash = state.passwords.hash(SecretString::from(password)).await?;
    let user = User {
        id: UserId::new(),
        email: arguments.email.clone(),
        name: "Administrator".to_owned(),
        is_platform_admin: true,
    };
    store::user::insert(&mut tx, &user, Some(&hash)).await?;
    tx.commit(super::did(Action::UserCreate.as_str(), user.id))
        .await?;
    Ok(user.id)
}

async fn ensure_organization(
    state: &State,
    name: &Name,
    owner: UserId,
) -> anyhow::Result<OrganizationId> {
    let mut tx = Mutation::platform(&state.pools, None).await?;
    if let Some(found) = store::organization::find_by_name(&mut tx, name).await? {
        return Ok(found.id);
    }
    let id = OrganizationId::new();
    store::organization::insert(&mut tx, id, name).await?;
    store::user::insert_member(&mut tx, id, owner, Role::Owner).await?;
    tx.commit(super::did(Action::OrganizationCreate.as_str(), id))
        .await?;
    Ok(id)
}

async fn create_token(
    state: &State,
    organization: OrganizationId,
    user: UserId,
) -> anyhow::Result<Token> {
    let token = Token::generate(Kind::ApiToken);
    let created_at = Utc::now();
    let api_token = ApiToken {
        id: ApiTokenId::new(),
        organization_id: organization,
        name: "bootstrap".parse()?,
        role: Role::Owner,
        platform: true,
        expires_at: created_at + Days::new(TOKEN_DAYS),
        revoked_at: None,
        last_used_at: None,
        created_at,
    };
    let mut tx = Mutation::platform(&state.pools, Some(organization)).await?;
    let maker = Maker { user, token: None };
    store::api_token::insert(&mut tx, &maker, &api_token, &token.hash()).await?;
    tx.commit(super::did(Action::ApiTokenCreate.as_str(), api_token.id))
        .await?;
    Ok(token)
}
