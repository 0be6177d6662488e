//! People, and their memberships in organizations.

use sqlx::postgres::PgRow;

use api::{
    page::Page,
    role::Role,
    user::{Member, User},
};
use domain::id::{OrganizationId, UserId};

use super::{
    Error,
    page::Paging,
    query,
    row::Columns,
    tx::{Access, Write},
};

/// A person who wants to sign in.
pub struct Login {
    /// The person.
    pub user: User,
    /// PHC string; none when another identity provider signs in.
    pub password_hash: Option<String>,
    /// The organization that sign-ins are written down in: the oldest membership.
    pub organization: Option<OrganizationId>,
}

fn user(row: &PgRow) -> Result<User, Error> {
    Ok(User {
        id: row.id("id")?,
        email: row.value("email")?,
        name: row.value("name")?,
        is_platform_admin: row.value("is_platform_admin")?,
    })
}

fn member(row: &PgRow) -> Result<Member, Error> {
    Ok(Member {
        id: row.id("id")?,
        email: row.value("email")?,
        name: row.value("name")?,
        role: row.parsed("role")?,
        version: row.value("version")?,
        created_at: row.value("created_at")?,
    })
}

/// Stores a person.
///
/// # Errors
/// By `user_email` when the address is taken.
pub async fn insert(
    tx: &mut impl Write,
    person: &User,
    password_hash: Option<&str>,
) -> Result<(), Error> {
    sqlx::query(
        r#"insert into "user" (id, email, name, password_hash, is_platform_admin)
           values ($1, $2, $3, $4, $5)"#,
    )
    .bind(person.id.uuid())
    .bind(&person.email)
    .bind(&person.name)
    .bind(password_hash)
    .bind(person.is_platform_admin)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// One person.
///
/// # Errors
/// When the database can't be reached.
pub async fn find(tx: &mut impl Access, id: UserId) -> Result<Option<User>, Error> {
    let query =
        sqlx::query(r#"select id, email, name, is_platform_admin from "user" where id = $1"#)
            .bind(id.uuid());
    query::find(tx, query, user).await
}

/// The person with this address, who is not disabled.
///
/// # Errors
/// When the database can't be reached.
pub async fn find_login(tx: &mut impl Access, email: &str) -> Result<Option<Login>, Error> {
    let row = sqlx::query(
        r#"select u.id, u.email, u.name, u.is_platform_admin, u.password_hash,
             (select m.organization_id from membership m
              join organization o on o.id = m.organization_id and o.deleted_at is null
              where m.user_id = u.id order by m.created_at limit 1) as organization_id
           from "user" u where lower(u.email) = lower($1) and u.disabled_at is null"#,
    )
    .bind(email)
    .fetch_optional(tx.executor())
    .await?;
    row.map(|row| {
        Ok(Login {
            user: user(&row)?,
            password_hash: row.value("password_hash")?,
            organization: row.id_opt("organization_id")?,
        })
    })
    .transpose()
}

/// Makes a person a member.
///
/// # Errors
/// By `membership_pkey` when the person is one already.
pub async fn insert_member(
    tx: &mut impl Write,
    organization: OrganizationId,
    person: UserId,
    role: Role,
) -> Result<(), Error> {
    sqlx::query("insert into membership (organization_id, user_id, role) values ($1, $2, $3)")
        .bind(organization.uuid())
        .bind(person.uuid())
        .bind(role.as_str())
        .execute(tx.executor())
        .await?;
    Ok(())
}

/// One member.
///
/// # Errors
/// When the database can't be reached.
pub async fn find_member(
    tx: &mut impl Access,
    organization: OrganizationId,
    person: UserId,
) -> Result<Option<Member>, Error> {
    let query = sqlx::query(
        r#"select u.id, u.email, u.name, m.role, m.version, m.created_at
           from membership m join "user" u on u.id = m.user_id
           where m.organization_id = $1 and m.user_id = $2"#,
    )
    .bind(organization.uuid())
    .bind(person.uuid());
    query::find(tx, query, member).await
}

/// The members of an organization.
///
/// # Errors
/// When the database can't be reached.
pub async fn list_members(
    tx: &mut impl Access,
    organization: OrganizationId,
    paging: Paging,
) -> Result<Page<Member>, Error> {
    let query = sqlx::query(
        r#"select u.id, u.email, u.name, m.role, m.version, m.created_at
           from membership m join "user" u on u.id = m.user_id
           where m.organization_id = $1 and ($2::uuid is null or u.id > $2)
           order by u.id limit $3"#,
    )
    .bind(organization.uuid());
    query::page(tx, query, paging, member, |m| m.id.uuid()).await
}

/// Changes a member's role; none when the version is another one.
///
/// # Errors
/// When the database can't be reached.
pub async fn update_member(
    tx: &mut impl Write,
    organization: OrganizationId,
    person: UserId,
    version: Option<i64>,
    role: Role,
) -> Result<Option<i64>, Error> {
    Ok(sqlx::query_scalar(
        "update membership set role = $4, version = version + 1
         where organization_id = $1 and user_id = $2 and ($3::bigint is null or version = $3)
         returning version",
    )
    .bind(organization.uuid())
    .bind(person.uuid())
    .bind(version)
    .bind(role.as_str())
    .fetch_optional(tx.executor())
    .await?)
}

/// Removes a member, with the tokens that the person made here.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete_member(
    tx: &mut impl Write,
    organization: OrganizationId,
    person: UserId,
) -> Result<(), Error> {
    sqlx::query(
        "update api_token set revoked_at = now()
         where organization_id = $1 and user_id = $2 and revoked_at is null",
    )
    .bind(organization.uuid())
    .bind(person.uuid())
    .execute(tx.executor())
    .await?;
    sqlx::query("delete from membership where organization_id = $1 and user_id = $2")
        .bind(organization.uuid())
        .bind(person.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}

/// How many owners an organization has; their rows stay locked until the transaction ends.
///
/// # Errors
/// When the database can't be reached.
pub async fn count_owners(
    tx: &mut impl Write,
    organization: OrganizationId,
) -> Result<usize, Error> {
    let owners = sqlx::query(
        "select user_id from membership where organization_id = $1 and role = 'owner' for update",
    )
    .bind(organization.uuid())
    .fetch_all(tx.executor())
    .await?;
    Ok(owners.len())
}

/// The organization that a person's denials are written down in: the oldest membership.
///
/// # Errors
/// When the database can't be reached.
pub async fn home_organization(
    tx: &mut impl Access,
    person: UserId,
) -> Result<Option<OrganizationId>, Error> {
    let id: Option<uuid::Uuid> = sqlx::query_scalar(
        "select m.organization_id from membership m
         join organization o on o.id = m.organization_id and o.deleted_at is null
         where m.user_id = $1 order by m.created_at limit 1",
    )
    .bind(person.uuid())
    .fetch_optional(tx.executor())
    .await?;
    Ok(id.map(OrganizationId::from))
}
