//! Variables of a service, and shared ones of an environment.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{
    id::{EnvironmentId, ServiceId, VariableId},
    name::VariableName,
};

/// A variable. It reaches instances with the next deployment.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Variable {
    /// The variable.
    pub id: VariableId,
    /// Its environment.
    pub environment_id: EnvironmentId,
    /// Its service; absent when the environment shares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_id: Option<ServiceId>,
    /// Unique in the service (or among the shared ones).
    pub name: VariableName,
    /// As written, references unresolved; absent when sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Used, never shown.
    pub sealed: bool,
    /// Rises with each new value; for `If-Match`.
    pub version: i64,
    /// When the value was set.
    pub updated_at: DateTime<Utc>,
}

/// `PUT …/variables/{name}`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetVariable {
    /// May refer to others: `${{service.NAME}}`, `${{shared.NAME}}`, `${{secret(32)}}`.
    #[schema(max_length = 65536)]
    pub value: String,
    /// From now on used, never shown. A sealed variable can't be unsealed, only deleted.
    #[serde(default)]
    pub sealed: bool,
}
