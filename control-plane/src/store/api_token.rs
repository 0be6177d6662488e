//! Tokens for programs. Only their hashes are stored.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;

use api::{api_token::ApiToken, page::Page};
use domain::id::{ApiTokenId, OrganizationId, UserId};

use crate::identity::{Actor, Credential, token::TokenHash};

use super::{
    Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, SystemTx, Write},
};

fn api_token(row: &PgRow) -> Result<ApiToken, Error> {
    Ok(ApiToken {
        id: row.id("id")?,
        organization_id: row.id("organization_id")?,
        name: row.parsed("name")?,
        role: row.parsed("role")?,
        platform: row.value("platform")?,
        expires_at: row.value("expires_at")?,
        revoked_at: row.value("revoked_at")?,
        last_used_at: row.value("last_used_at")?,
        created_at: row.value("created_at")?,
    })
}

/// Who made a token, and how.
pub struct Maker {
    /// Whose it is.
    pub user: UserId,
    /// The token that it was made with.
    pub token: Option<ApiTokenId>,
}

/// Stores a token.
///
/// # Errors
/// When the database can't be reached.
pub async fn insert(
    tx: &mut impl Write,
    maker: &Maker,
    token: &ApiToken,
    hash: &TokenHash,
) -> Result<(), Error> {
    sqlx::query(
        "insert into api_token (id, organization_id, user_id, name, token_hash, role, platform,
             expires_at, created_at, maker_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(token.id.uuid())
    .bind(token.organization_id.uuid())
    .bind(maker.user.uuid())
    .bind(token.name.as_str())
    .bind(hash.as_slice())
    .bind(token.role.as_str())
    .bind(token.platform)
    .bind(token.expires_at)
    .bind(token.created_at)
    .bind(maker.token.map(ApiTokenId::uuid))
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Whether a token that was good is good still.
///
/// # Errors
/// When the database can't be reached.
pub async fn is_good(tx: &mut impl Access, id: ApiTokenId) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(
        r#"select exists (select 1 from api_token t join "user" u on u.id = t.user_id
           where t.id = $1 and t.revoked_at is null and t.expires_at > now()
             and u.disabled_at is null)"#,
    )
    .bind(id.uuid())
    .fetch_one(tx.executor())
    .await?)
}

/// When a token ends.
///
/// # Errors
/// When the database can't be reached.
pub async fn expires_at(
    tx: &mut impl Access,
    id: ApiTokenId,
) -> Result<Option<DateTime<Utc>>, Error> {
    Ok(
        sqlx::query_scalar("select expires_at from api_token where id = $1")
            .bind(id.uuid())
            .fetch_optional(tx.executor())
            .await?,
    )
}

/// Who holds the token with this hash, if it is still good. Notes the use, to the minute.
///
/// # Errors
/// When the database can't be reached.
pub async fn find_actor(tx: &mut SystemTx, hash: &TokenHash) -> Result<Option<Actor>, Error> {
    let row = sqlx::query(
        r#"select t.id, t.organization_id, t.user_id, t.role,
               t.platform and u.is_platform_admin as platform_admin,
               coalesce(t.last_used_at < now() - interval '1 minute', true) as note_use
           from api_token t join "user" u on u.id = t.user_id
           where t.token_hash = $1 and t.revoked_at is null and t.expires_at > now()
             and u.disabled_at is null"#,
    )
    .bind(hash.as_slice())
    .fetch_optional(tx.executor())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let id: ApiTokenId = row.id("id")?;
    if row.value("note_use")? {
        sqlx::query("update api_token set last_used_at = now() where id = $1")
            .bind(id.uuid())
            .execute(tx.executor())
            .await?;
    }
    Ok(Some(Actor {
        user: row.id("user_id")?,
        credential: Credential::ApiToken {
            id,
            organization: row.id("organization_id")?,
            role: row.parsed("role")?,
        },
        platform_admin: row.value("platform_admin")?,
    }))
}

/// The tokens that a person made; of these only `only`'s, when given.
///
/// # Errors
/// When the database can't be reached.
pub async fn list_of_user(
    tx: &mut impl Access,
    user: UserId,
    only: Option<OrganizationId>,
    paging: Paging,
) -> Result<Page<ApiToken>, Error> {
    let query = sqlx::query(
        "select * from api_token
         where user_id = $1 and ($2::uuid is null or organization_id = $2)
           and ($3::uuid is null or id > $3)
         order by id limit $4",
    )
    .bind(user.uuid())
    .bind(only.map(OrganizationId::uuid));
    query::page(tx, query, paging, api_token, |t| t.id.uuid()).await
}

/// Whose token it is.
#[derive(Debug, Clone, Copy)]
pub struct TokenOwner {
    /// What it is good for.
    pub organization: OrganizationId,
    /// Who made it.
    pub user: UserId,
}

/// Whose token it is.
///
/// # Errors
/// When the database can't be reached.
pub async fn owner(tx: &mut impl Access, id: ApiTokenId) -> Result<Option<TokenOwner>, Error> {
    let row = sqlx::query("select organization_id, user_id from api_token where id = $1")
        .bind(id.uuid())
        .fetch_optional(tx.executor())
        .await?;
    row.map(|row| {
        Ok(TokenOwner {
            organization: row.id("organization_id")?,
            user: row.id("user_id")?,
        })
    })
    .transpose()
}

/// Revokes a token, and those that were made with it.
///
/// # Errors
/// When the database can't be reached.
pub async fn revoke(tx: &mut impl Write, id: ApiTokenId, at: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query(
        "with recursive made (id) as (
             select $1::uuid union select t.id from api_token t join made on t.maker_id = made.id)
         update api_token set revoked_at = $2
         where id in (select id from made) and revoked_at is null",
    )
    .bind(id.uuid())
    .bind(at)
    .execute(tx.executor())
    .await?;
    Ok(())
}
