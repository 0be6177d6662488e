//! Every operation of the OpenAPI document, and who may do it. An operation that is missing here
//! fails the tests.

use api::role::Role;
use control_plane::http;
use reqwest::Method;
use serde_json::Value;

/// Who may do an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a token.
    Public,
    /// Everybody with a token; it is about the caller itself.
    Own,
    /// Members with this role or a greater one.
    Member(Role),
    /// Those who run the platform.
    Operator,
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Operation {
    pub id: String,
    pub method: Method,
    /// With `{parameters}`.
    pub path: String,
    /// Answers never end by themselves.
    pub endless: bool,
}

impl Operation {
    pub fn mutates(&self) -> bool {
        self.method != Method::GET
    }

    pub fn access(&self) -> Access {
        access(&self.id)
    }

    pub fn parameters(&self) -> Vec<&str> {
        let inner = |part: &'_ str| part.starts_with('{');
        self.path
            .split('/')
            .filter(|part| inner(part))
            .map(|part| part.trim_matches(['{', '}']))
            .collect()
    }
}

/// All operations of the document that the server serves.
pub fn all() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&http::document().unwrap()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else {
                continue;
            };
            let id = operation["operationId"].as_str().unwrap().to_owned();
            operations.push(Operation {
                endless: id == "event.stream",
                id,
                method,
                path: path.clone(),
            });
        }
    }
    // They take back what another one did, or leave nothing to be done.
    operations.sort_by_key(|operation| {
        ["rollout.resume", "node.delete"].contains(&operation.id.as_str())
    });
    assert!(
        operations.len() > 60,
        "only {} operations",
        operations.len()
    );
    operations
}

fn access(id: &str) -> Access {
    match id {
        "session.create" | "version.get" | "openapi.get" | "registry.token" => Access::Public,
        "session.delete" | "me.get" | "organization.list" | "api_token.list"
        | "api_token.delete" | "region.list" => Access::Own,
        "organization.create"
        | "region.create"
        | "region.update"
        | "node.list"
        | "node.get"
        | "node.update"
        | "node.delete"
        | "node.fence"
        | "node.override"
        | "orphan.list"
        | "orphan.delete"
        | "platform.status"
        | "rollout.get"
        | "rollout.stop"
        | "rollout.resume"
        | "join_token.list"
        | "join_token.create"
        | "join_token.delete" => Access::Operator,
        "organization.get" | "deletion.list" | "user.list" | "project.list" | "project.get"
        | "environment.list" | "environment.get" | "deploy_key.list" | "service.list"
        | "service.get" | "deployment.list" | "deployment.get" | "deployment.logs"
        | "release.list" | "release.get" | "instance.list" | "service.logs" | "domain.list"
        | "event.stream" | "api_token.create" => Access::Member(Role::Viewer),
        "project.create"
        | "project.update"
        | "environment.create"
        | "environment.update"
        | "deploy_key.create"
        | "deploy_key.delete"
        | "service.create"
        | "service.update"
        | "service.delete"
        | "service.scale"
        | "service.down"
        | "variable.list"
        | "variable.set"
        | "variable.delete"
        | "shared_variable.list"
        | "shared_variable.set"
        | "shared_variable.delete"
        | "archive.create"
        | "deployment.create"
        | "deployment.cancel"
        | "domain.create"
        | "domain.delete"
        | "domain_certificate.set"
        | "domain_certificate.delete" => Access::Member(Role::Developer),
        "organization.update"
        | "user.create"
        | "user.update"
        | "user.delete"
        | "project.delete"
        | "environment.delete"
        | "audit_event.list" => Access::Member(Role::Admin),
        "organization.delete" => Access::Member(Role::Owner),
        other => panic!("{other} has no access row: say who may do it"),
    }
}
