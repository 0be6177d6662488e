//! `/v1/services`: what a tenant asks for (the specification) and what is seen of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{
    id::{DeploymentId, EnvironmentId, OrganizationId, ProjectId, ServiceId},
    name::Name,
    spec::ServiceSpec,
};

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// The service.
    pub id: ServiceId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// Its project.
    pub project_id: ProjectId,
    /// Its environment.
    pub environment_id: EnvironmentId,
    /// Unique in the environment; `<name>.internal` on the private network.
    pub name: Name,
    /// What is asked for. Takes effect with the next deployment.
    pub spec: ServiceSpec,
    /// False after `down` and before the first deployment: nothing shall run.
    pub active: bool,
    /// The deployment that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_deployment_id: Option<DeploymentId>,
    /// The deployment that shall serve, until it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_deployment_id: Option<DeploymentId>,
    /// Where it answers, the default hostname first.
    pub hostnames: Vec<String>,
    /// What is seen, per region.
    pub regions: BTreeMap<Name, RegionStatus>,
    /// Why something that shall run has no place, per region.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub blocked: BTreeMap<String, String>,
    /// For `If-Match`.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// What is seen of a service in one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegionStatus {
    /// Instances that shall run.
    pub desired: u32,
    /// Instances whose startup probe has passed.
    pub running: u32,
    /// Instances that take traffic.
    pub ready: u32,
    /// When the oldest of these facts was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<DateTime<Utc>>,
}

/// Makes a service. Nothing runs before its first deployment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateService {
    /// Unique in the environment.
    pub name: Name,
    /// What is asked for; what is left out has defaults.
    #[serde(default = "empty_spec")]
    pub spec: ServiceSpec,
    /// Says that its edge rules are meant, although they refuse ordinary requests one and all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub confirm_block_all: bool,
}

/// Changes a service.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateService {
    /// Replaces the whole specification.
    pub spec: ServiceSpec,
    /// Says that its edge rules are meant, although they refuse ordinary requests one and all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub confirm_block_all: bool,
}

/// `PUT /v1/services/{service_id}/scale`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleService {
    /// Replicas per region. Regions that are left out keep theirs; 0 removes.
    pub regions: BTreeMap<Name, u32>,
}

const fn is_false(value: &bool) -> bool {
    !*value
}

fn empty_spec() -> ServiceSpec {
    ServiceSpec {
        kind: domain::spec::ServiceKind::default(),
        source: None,
        build: domain::spec::BuildSpec::default(),
        deploy: domain::spec::DeploySpec::default(),
        scale: domain::spec::ScaleSpec::default(),
        network: domain::spec::NetworkSpec::default(),
        edge: domain::spec::EdgeSpec::default(),
    }
}
