//! To which organization an id belongs, and what a person is in it. Asked across organizations, so
//! that an id that exists elsewhere can be told (to the audit log) from one that doesn't exist.

use sqlx::Row;
use uuid::Uuid;

use api::role::Role;
use domain::id::{
    DeployKeyId, DeploymentId, DomainId, EnvironmentId, OrganizationId, ProjectId, ReleaseId,
    ServiceId, UserId,
};

use super::{Error, tx::Access};

macro_rules! resources {
    ($($(#[$doc:meta])* $variant:ident($id:ty) = $kind:literal;)*) => {
        /// Something of an organization that an action is done to, or done in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Resource {
            $($(#[$doc])* $variant($id),)*
        }

        impl Resource {
            /// What it is, for people.
            #[must_use]
            pub const fn kind(self) -> &'static str {
                match self { $(Self::$variant(_) => $kind),* }
            }
        }

        impl std::fmt::Display for Resource {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self { $(Self::$variant(id) => id.fmt(f)),* }
            }
        }
    };
}

resources! {
    /// An organization, or something that is to be made in it.
    Organization(OrganizationId) = "organization";
    /// A project.
    Project(ProjectId) = "project";
    /// An environment.
    Environment(EnvironmentId) = "environment";
    /// A service.
    Service(ServiceId) = "service";
    /// A deployment.
    Deployment(DeploymentId) = "deployment";
    /// A release.
    Release(ReleaseId) = "release";
    /// A hostname.
    Domain(DomainId) = "domain";
    /// A deploy key.
    DeployKey(DeployKeyId) = "deploy key";
}

/// Where an id belongs.
#[derive(Debug, Clone, Copy)]
pub struct Located {
    /// Whose it is.
    pub organization: OrganizationId,
    /// What the person is there; none when not a member.
    pub role: Option<Role>,
}

macro_rules! locate {
    ($found:literal) => {
        concat!(
            "select o.id as organization_id, m.role from (",
            $found,
            ") found join organization o on o.id = found.organization_id and o.deleted_at is null
             left join membership m on m.organization_id = o.id and m.user_id = $2"
        )
    };
}

/// Where an id belongs; none when there is no such thing (any more).
///
/// # Errors
/// When the database can't be reached.
pub async fn locate(
    tx: &mut impl Access,
    resource: Resource,
    user: UserId,
) -> Result<Option<Located>, Error> {
    let (statement, id): (&'static str, Uuid) = match resource {
        Resource::Organization(id) => (locate!("select $1::uuid as organization_id"), id.uuid()),
        Resource::Project(id) => (
            locate!("select organization_id from project where id = $1 and deleted_at is null"),
            id.uuid(),
        ),
        Resource::Environment(id) => (
            locate!("select organization_id from environment where id = $1 and deleted_at is null"),
            id.uuid(),
        ),
        Resource::Service(id) => (
            locate!("select organization_id from service where id = $1 and deleted_at is null"),
            id.uuid(),
        ),
        Resource::Deployment(id) => (
            locate!("select organization_id from deployment where id = $1"),
            id.uuid(),
        ),
        Resource::Release(id) => (
            locate!("select organization_id from release where id = $1"),
            id.uuid(),
        ),
        Resource::Domain(id) => (
            locate!("select organization_id from domain where id = $1"),
            id.uuid(),
        ),
        Resource::DeployKey(id) => (
            locate!("select organization_id from deploy_key where id = $1"),
            id.uuid(),
        ),
    };
    let row = sqlx::query(statement)
        .bind(id)
        .bind(user.uuid())
        .fetch_optional(tx.executor())
        .await?;
    row.map(|row| {
        Ok(Located {
            organization: row.try_get::<Uuid, _>("organization_id")?.into(),
            role: super::role(row.try_get("role")?)?,
        })
    })
    .transpose()
}
