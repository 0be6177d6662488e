//! Writes denials and failed attempts down before they are answered. What succeeded has written its
//! event itself, with the change.

use std::{collections::HashMap, sync::Arc};

use axum::extract::{MatchedPath, Request};
use http::Method;
use utoipa::openapi::OpenApi;

use api::{audit_event::AuditOutcome, problem::Code};

use crate::{
    app::Action,
    audit::{ActorId, Entry, Source},
    identity::{Actor, Credential},
    store::{self, tx::SystemTx},
};

use super::{Failure, Layer, RequestId};

/// Which action a route is, from the OpenAPI document.
#[derive(Clone)]
pub struct Operations(Arc<HashMap<(Method, String), Action>>);

impl Operations {
    /// Reads the operation ids of a document.
    #[must_use]
    pub fn of(document: &OpenApi) -> Self {
        let operations = super::super::openapi::operations(document)
            .filter_map(|(method, path, id)| Some(((method, path), Action::from_name(&id)?)))
            .collect();
        Self(Arc::new(operations))
    }

    fn action(&self, method: &Method, path: &str) -> Option<Action> {
        self.0.get(&(method.clone(), path.to_owned())).copied()
    }
}

/// What a request is about, kept while the handler has the request itself.
pub struct Attempt {
    method: Method,
    route: String,
    resource: Option<String>,
    actor: Option<Actor>,
    address: Option<std::net::IpAddr>,
}

impl Attempt {
    /// Of a request by this actor, or by nobody known.
    pub fn of(request: &Request, actor: Option<&Actor>) -> Self {
        let route = request
            .extensions()
            .get::<MatchedPath>()
            .map_or("", MatchedPath::as_str);
        let peer = request.extensions().get::<crate::listen::Peer>();
        Self {
            method: request.method().clone(),
            resource: last_id(route, request.uri().path()),
            route: route.to_owned(),
            actor: actor.cloned(),
            address: peer.map(|peer| peer.address.ip()),
        }
    }

    /// Writes the failure down, if it is one that is written down.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn record(
        self,
        layer: &Layer,
        failure: &Failure,
        id: &RequestId,
    ) -> Result<(), store::Error> {
        let Some(outcome) = self.outcome(failure) else {
            return Ok(());
        };
        let Some(action) = layer.operations.action(&self.method, &self.route) else {
            return Ok(());
        };
        let organization = match failure.organization {
            Some(organization) => Some(organization),
            None => self.home(layer).await?,
        };
        let actor = self.actor.as_ref();
        let source = Source {
            actor: actor.map_or(ActorId::Anonymous, Actor::audit_id),
            address: self.address,
            request_id: id.0.clone(),
        };
        let code = failure.code.as_str();
        let entry = Entry::unsuccessful(source, action.as_str(), self.resource, outcome, code);
        layer.state.recorder.record(organization, entry).await
    }

    fn outcome(&self, failure: &Failure) -> Option<AuditOutcome> {
        let reading = matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match failure.code {
            Code::RateLimited | Code::Unavailable => None,
            Code::Unauthenticated | Code::InvalidCredentials | Code::Forbidden => {
                Some(AuditOutcome::Denied)
            }
            Code::NotFound if failure.foreign => Some(AuditOutcome::Denied),
            _ if reading => None,
            _ => Some(AuditOutcome::Failure),
        }
    }

    async fn home(
        &self,
        layer: &Layer,
    ) -> Result<Option<domain::id::OrganizationId>, store::Error> {
        match &self.actor {
            None => Ok(None),
            Some(actor) => match actor.credential {
                Credential::ApiToken { organization, .. } => Ok(Some(organization)),
                Credential::Session(_) => {
                    let mut tx = SystemTx::begin(&layer.state.pools).await?;
                    store::user::home_organization(&mut tx, actor.user).await
                }
            },
        }
    }
}

/// The text in the place of the last `{…_id}` of a route, cut to a sane length.
fn last_id(route: &str, path: &str) -> Option<String> {
    route
        .split('/')
        .zip(path.split('/'))
        .filter(|(template, _)| template.starts_with('{') && template.ends_with("_id}"))
        .last()
        .map(|(_, text)| text.chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_of_an_attempt_is_the_last_id_of_its_path() {
        let route = "/v1/organizations/{organization_id}/users/{user_id}";
        let path = "/v1/organizations/org_1/users/usr_2";
        assert_eq!(last_id(route, path).as_deref(), Some("usr_2"));
        assert_eq!(
            last_id(
                "/v1/services/{service_id}/variables/{name}",
                "/v1/services/svc_1/variables/A"
            )
            .as_deref(),
            Some("svc_1")
        );
        assert_eq!(last_id("/v1/regions", "/v1/regions"), None);
    }
}
