//! Members of an organization and their roles.

use api::{
    page::Page,
    problem::Code,
    role::Role,
    user::{CreateMember, Member, UpdateMember, User},
};
use domain::id::{OrganizationId, UserId};
use secrecy::SecretString;
use serde_json::json;

use crate::{
    identity::password::{LENGTH_MAX, LENGTH_MIN},
    store::{
        self,
        event::NewEvent,
        page::Paging,
        tx::{Access, Mutation, Write},
    },
};

use super::{
    Action, Context, Error, Grant, OnConstraint as _, Resource,
    access::authorize_role,
    authorize,
    idempotency::{self, Begun},
    version::{Expected, mismatch},
};

/// The members of an organization.
///
/// # Errors
/// When there is no such organization for the actor.
pub async fn list(
    context: &Context,
    organization: OrganizationId,
    paging: Paging,
) -> Result<Page<Member>, Error> {
    let resource = Resource::Organization(organization);
    let grant = authorize(context, Action::UserList, resource).await?;
    let mut tx = grant.read(context).await?;
    Ok(store::user::list_members(&mut tx, organization, paging).await?)
}

/// Makes a person a member; one who is new to the platform is created.
///
/// # Errors
/// When not allowed, the person is a member already, or a new person lacks a name.
pub async fn create(
    context: &Context,
    organization: OrganizationId,
    request: CreateMember,
) -> Result<Member, Error> {
    let resource = Resource::Organization(organization);
    let grant = authorize(context, Action::UserCreate, resource).await?;
    authorize_role(context, organization, request.role).await?;
    check_email(&request.email)?;
    let password_hash = match request.password.clone() {
        Some(password) => Some(hash(context, password).await?),
        None => None,
    };
    let tx = people(context, &grant).await?;
    let mut tx = match idempotency::begin(context, tx).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    let person = find_or_create(&mut tx, &request, password_hash.as_deref()).await?;
    store::user::insert_member(&mut tx, organization, person, request.role)
        .await
        .on_constraint("membership_pkey", || {
            Error::refused(Code::Conflict, "this person is a member already")
        })?;
    let member = found(&mut tx, organization, person).await?;
    tx.event(NewEvent::new("user.created", person));
    let detail = json!({ "role": request.role });
    tx.commit(context.did_with(grant.action, person, detail), member)
        .await
}

/// Changes a member's role.
///
/// # Errors
/// When not allowed, the last owner would be gone, or the version is another one.
pub async fn update(
    context: &Context,
    organization: OrganizationId,
    person: UserId,
    expected: Expected,
    request: UpdateMember,
) -> Result<Member, Error> {
    let resource = Resource::Organization(organization);
    let grant = authorize(context, Action::UserUpdate, resource).await?;
    authorize_role(context, organization, request.role).await?;
    let mut tx = people(context, &grant).await?;
    let before = found(&mut tx, organization, person).await?;
    authorize_role(context, organization, before.role).await?;
    if request.role != Role::Owner {
        keep_an_owner(&mut tx, organization, &before).await?;
    }
    let (version, role) = (expected.version(), request.role);
    store::user::update_member(&mut tx, organization, person, version, role)
        .await?
        .ok_or_else(|| mismatch("member"))?;
    let member = found(&mut tx, organization, person).await?;
    tx.event(NewEvent::new("user.updated", person));
    let entry = context.did_with(grant.action, person, json!({ "role": role }));
    context.commit(tx, entry, &[]).await?;
    Ok(member)
}

/// Removes a member, with the tokens that the person made here.
///
/// # Errors
/// When not allowed, or the last owner would be gone.
pub async fn delete(
    context: &Context,
    organization: OrganizationId,
    person: UserId,
) -> Result<(), Error> {
    let resource = Resource::Organization(organization);
    let grant = authorize(context, Action::UserDelete, resource).await?;
    let mut tx = people(context, &grant).await?;
    let before = found(&mut tx, organization, person).await?;
    authorize_role(context, organization, before.role).await?;
    keep_an_owner(&mut tx, organization, &before).await?;
    store::user::delete_member(&mut tx, organization, person).await?;
    tx.event(NewEvent::new("user.deleted", person));
    context
        .commit(tx, context.did(grant.action, person), &[])
        .await?;
    context.state.sessions.forget();
    Ok(())
}

/// People belong to no tenant: their rows are changed as the system, for this organization's log.
async fn people(context: &Context, grant: &Grant) -> Result<Mutation, Error> {
    Ok(Mutation::platform(&context.state.pools, Some(grant.organization)).await?)
}

async fn found(
    tx: &mut impl Access,
    organization: OrganizationId,
    person: UserId,
) -> Result<Member, Error> {
    let found = store::user::find_member(tx, organization, person).await?;
    found.ok_or_else(|| Error::not_found("user", person))
}

async fn find_or_create(
    tx: &mut impl Write,
    request: &CreateMember,
    password_hash: Option<&str>,
) -> Result<UserId, Error> {
    if let Some(login) = store::user::find_login(tx, &request.email).await? {
        // An administrator of one organization must not set the password of somebody who may be in
        // others.
        return Ok(login.user.id);
    }
    let name = request.name.as_deref().map_or("", str::trim);
    if name.is_empty() || name.len() > 200 || name.contains(char::is_control) {
        return Err(Error::field(
            "name",
            "a new person needs a name of at most 200 characters, in one line",
        ));
    }
    let person = User {
        id: UserId::new(),
        email: request.email.clone(),
        name: name.to_owned(),
        is_platform_admin: false,
    };
    store::user::insert(tx, &person, password_hash)
        .await
        .on_constraint("user_email", || {
            Error::refused(
                Code::Conflict,
                "this e-mail address belongs to a disabled user",
            )
        })?;
    Ok(person.id)
}

async fn keep_an_owner(
    tx: &mut impl Write,
    organization: OrganizationId,
    before: &Member,
) -> Result<(), Error> {
    if before.role == Role::Owner && store::user::count_owners(tx, organization).await? <= 1 {
        return Err(Error::refused(
            Code::LastOwner,
            "an organization keeps at least one owner; make somebody else an owner first",
        ));
    }
    Ok(())
}

async fn hash(context: &Context, password: String) -> Result<String, Error> {
    if !(LENGTH_MIN..=LENGTH_MAX).contains(&password.len()) {
        return Err(Error::field(
            "password",
            format!("must have {LENGTH_MIN} to {LENGTH_MAX} characters"),
        ));
    }
    Ok(context
        .state
        .passwords
        .hash(SecretString::from(password))
        .await?)
}

fn check_email(email: &str) -> Result<(), Error> {
    let well_formed = email.len() <= 254
        && !email.contains(|c: char| c.is_whitespace() || c.is_control())
        && email.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty() && !host.is_empty() && !host.contains('@')
        });
    if well_formed {
        Ok(())
    } else {
        Err(Error::field("email", "must be an e-mail address"))
    }
}
