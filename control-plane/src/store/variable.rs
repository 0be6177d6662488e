//! Variables of services and environments, with sealed values.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;

use domain::{
    id::{EnvironmentId, OrganizationId, ServiceId, VariableId},
    name::{Name, VariableName},
};

use crate::secrets::Sealed;

use super::{
    Error, query,
    row::Columns,
    tx::{Access, Write},
};

/// Most variables of one service, and most shared ones of one environment.
pub const PER_OWNER_MAX: i64 = 500;

/// What a variable belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The environment.
    pub environment: EnvironmentId,
    /// None when the environment shares it.
    pub service: Option<ServiceId>,
}

/// A variable with its value sealed.
#[derive(Debug, Clone)]
pub struct StoredVariable {
    /// The variable.
    pub id: VariableId,
    /// What it belongs to.
    pub owner: Owner,
    /// Its name.
    pub name: VariableName,
    /// Used, never shown.
    pub sealed: bool,
    /// Rises with each new value.
    pub version: i64,
    /// The value.
    pub value: Sealed,
    /// When the value was set.
    pub updated_at: DateTime<Utc>,
}

fn variable(row: &PgRow) -> Result<StoredVariable, Error> {
    Ok(StoredVariable {
        id: row.id("id")?,
        owner: Owner {
            environment: row.id("environment_id")?,
            service: row.id_opt("service_id")?,
        },
        name: row.parsed("name")?,
        sealed: row.value("sealed")?,
        version: row.value("value_version")?,
        value: Sealed {
            ciphertext: row.value("ciphertext")?,
            wrapped_key: row.value("wrapped_key")?,
        },
        updated_at: row.value("updated_at")?,
    })
}

/// The variables of one owner, by name.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(tx: &mut impl Access, owner: Owner) -> Result<Vec<StoredVariable>, Error> {
    let rows = sqlx::query(
        "select * from variable
         where environment_id = $1 and service_id is not distinct from $2
         order by name limit $3",
    )
    .bind(owner.environment.uuid())
    .bind(owner.service.map(ServiceId::uuid))
    .bind(PER_OWNER_MAX)
    .fetch_all(tx.executor())
    .await?;
    rows.iter().map(variable).collect()
}

/// Every variable of an environment with its service's name; none for shared ones.
///
/// # Errors
/// When the database can't be reached.
pub async fn list_environment(
    tx: &mut impl Access,
    environment: EnvironmentId,
) -> Result<Vec<(Option<Name>, StoredVariable)>, Error> {
    let rows = sqlx::query(
        "select v.*, s.name as service_name from variable v
         left join service s on s.organization_id = v.organization_id and s.id = v.service_id
         where v.environment_id = $1 and s.deleted_at is null",
    )
    .bind(environment.uuid())
    .fetch_all(tx.executor())
    .await?;
    rows.iter()
        .map(|row| {
            let service: Option<&str> = row.value("service_name")?;
            let service = service
                .map(|name| {
                    name.parse::<Name>()
                        .map_err(|e| Error::corrupt("service name", e))
                })
                .transpose()?;
            Ok((service, variable(row)?))
        })
        .collect()
}

/// One variable, with the row locked until the transaction ends.
///
/// # Errors
/// When the database can't be reached.
pub async fn lock(
    tx: &mut impl Write,
    owner: Owner,
    name: &VariableName,
) -> Result<Option<StoredVariable>, Error> {
    let query = sqlx::query(
        "select * from variable
         where environment_id = $1 and service_id is not distinct from $2 and name = $3 for update",
    )
    .bind(owner.environment.uuid())
    .bind(owner.service.map(ServiceId::uuid))
    .bind(name.as_str());
    query::find(tx, query, variable).await
}

/// How many variables an owner has.
///
/// # Errors
/// When the database can't be reached.
pub async fn count(tx: &mut impl Access, owner: Owner) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "select count(*) from variable
         where environment_id = $1 and service_id is not distinct from $2",
    )
    .bind(owner.environment.uuid())
    .bind(owner.service.map(ServiceId::uuid))
    .fetch_one(tx.executor())
    .await?)
}

/// Stores a new variable.
///
/// # Errors
/// By `variable_name` when somebody else was faster.
pub async fn insert(
    tx: &mut impl Write,
    organization: OrganizationId,
    new: &StoredVariable,
) -> Result<(), Error> {
    sqlx::query(
        "insert into variable (id, organization_id, environment_id, service_id, name, sealed,
             value_version, ciphertext, wrapped_key, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(new.id.uuid())
    .bind(organization.uuid())
    .bind(new.owner.environment.uuid())
    .bind(new.owner.service.map(ServiceId::uuid))
    .bind(new.name.as_str())
    .bind(new.sealed)
    .bind(new.version)
    .bind(&new.value.ciphertext)
    .bind(&new.value.wrapped_key)
    .bind(new.updated_at)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Replaces the value of a locked variable.
///
/// # Errors
/// When the database can't be reached.
pub async fn update(tx: &mut impl Write, changed: &StoredVariable) -> Result<(), Error> {
    sqlx::query(
        "update variable set sealed = $2, value_version = $3, ciphertext = $4, wrapped_key = $5,
             updated_at = $6
         where id = $1",
    )
    .bind(changed.id.uuid())
    .bind(changed.sealed)
    .bind(changed.version)
    .bind(&changed.value.ciphertext)
    .bind(&changed.value.wrapped_key)
    .bind(changed.updated_at)
    .execute(tx.executor())
    .await?;
    Ok(())
}

/// Deletes a variable.
///
/// # Errors
/// When the database can't be reached.
pub async fn delete(tx: &mut impl Write, id: VariableId) -> Result<(), Error> {
    sqlx::query("delete from variable where id = $1")
        .bind(id.uuid())
        .execute(tx.executor())
        .await?;
    Ok(())
}
