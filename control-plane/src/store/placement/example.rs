//! A service for unit tests.

use std::collections::BTreeMap;

use domain::{
    id::{DeploymentId, EnvironmentId, OrganizationId, ProjectId, ReleaseId, ServiceId},
    spec::ServiceSpec,
};

use super::{Release, Service};

/// A web service whose first deployment is live and routed, and that deployment's release.
pub fn routed() -> (Service, Release) {
    let spec: ServiceSpec = serde_json::from_str("{}").unwrap();
    let deployment = DeploymentId::new();
    let service = Service {
        id: ServiceId::new(),
        organization: OrganizationId::new(),
        name: "web".parse().unwrap(),
        environment: EnvironmentId::new(),
        environment_name: "production".parse().unwrap(),
        project: ProjectId::new(),
        project_name: "shop".parse().unwrap(),
        spec: spec.clone(),
        active: true,
        deleted: false,
        current: Some(deployment),
        target: None,
        routed: Some(deployment),
    };
    let release = Release {
        id: ReleaseId::new(),
        deployment,
        deployment_number: 1,
        image: "registry/x@sha256:1".into(),
        spec,
        variables: BTreeMap::new(),
        commit_sha: None,
        commit_author: None,
        commit_branch: None,
        traceparent: None,
    };
    (service, release)
}
