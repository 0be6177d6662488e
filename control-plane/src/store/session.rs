//! Sessions: a person's sign-ins. Only hashes of their tokens are stored.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use sqlx::Row;

use domain::id::{SessionId, UserId};

use crate::identity::{Actor, Credential, token::TokenHash};

use super::{
    Error,
    tx::{Access, Write},
};

/// A session that is to be made.
pub struct NewSession<'a> {
    /// Its id.
    pub id: SessionId,
    /// Who signed in.
    pub user: UserId,
    /// Of the token.
    pub token_hash: TokenHash,
    /// Ends by itself then.
    pub expires_at: DateTime<Utc>,
    /// From where.
    pub address: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<&'a str>,
}

/// Stores a session.
///
/// # Errors
/// When the database refuses.
pub async fn insert(tx: &mut impl Write, session: &NewSession<'_>) -> Result<(), Error> {
    sqlx::query(
        "insert into session (id, user_id, token_hash, expires_at, address, user_agent)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(session.id.uuid())
    .bind(session.user.uuid())
    .bind(session.token_hash.as_slice())
    .bind(session.expires_at)
    .bind(session.address.map(IpNet::from))
    .bind(session.user_agent)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Who holds the token with this hash, if the session is still good.
///
/// # Errors
/// When the database can't be reached.
pub async fn find_actor(tx: &mut impl Access, hash: &TokenHash) -> Result<Option<Actor>, Error> {
    let row = sqlx::query(
        r#"select s.id, s.user_id, u.is_platform_admin
           from session s join "user" u on u.id = s.user_id
           where s.token_hash = $1 and s.ended_at is null and s.expires_at > now()
             and u.disabled_at is null"#,
    )
    .bind(hash.as_slice())
    .fetch_optional(tx.executor())
    .await?;
    row.map(|row| {
        Ok(Actor {
            user: UserId::from(row.try_get::<uuid::Uuid, _>("user_id")?),
            credential: Credential::Session(row.try_get::<uuid::Uuid, _>("id")?.into()),
            platform_admin: row.try_get("is_platform_admin")?,
        })
    })
    .transpose()
}

/// Whether a session that was good is good still.
///
/// # Errors
/// When the database can't be reached.
pub async fn is_good(tx: &mut impl Access, id: SessionId) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(
        r#"select exists (select 1 from session s join "user" u on u.id = s.user_id
           where s.id = $1 and s.ended_at is null and s.expires_at > now()
             and u.disabled_at is null)"#,
    )
    .bind(id.uuid())
    .fetch_one(tx.executor())
    .await?)
}

/// Ends a session.
///
/// # Errors
/// When the database refuses.
pub async fn end(tx: &mut impl Write, id: SessionId) -> Result<(), Error> {
    sqlx::query("update session set ended_at = now() where id = $1 and ended_at is null")
        .bind(id.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}
