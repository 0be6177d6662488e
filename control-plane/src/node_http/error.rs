//! What a node is told when it is refused: a problem document with a stable code.

use std::time::Duration;

use api::problem::Problem;
use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use protocol::{OLDEST, PROTOCOL, RETRY_AFTER_MS_HEADER};

use crate::{ca, logs, registry::NodeTokenError, secrets, store};

/// Why a node's request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this route needs the node's client certificate")]
    NoCertificate,
    #[error("the client certificate is no node's of this platform: {0}")]
    ForeignCertificate(String),
    #[error(
        "node {0} is not known or is denied by an operator; let it join again with a new token"
    )]
    Denied(String),
    #[error("node {0} is fenced: it gets no images until it has ended what it ran")]
    Fenced(String),
    #[error("this is no join token; make one with `railhead node token`")]
    InvalidToken,
    #[error(
        "the join token was used before; each is good for one node: make a new one with `railhead node token`"
    )]
    UsedToken,
    #[error(
        "the join token has expired; tokens are good for 15 minutes: make a new one with `railhead node token`"
    )]
    ExpiredToken,
    #[error("region {region} already has a node called {name}; remove it, or choose another name")]
    NameTaken { region: String, name: String },
    #[error("the certificate request is signed by another key than the certificate in use")]
    OtherKey,
    #[error("this node may not follow {0}")]
    ForeignFeed(String),
    #[error("{0}")]
    Malformed(String),
    #[error("the report is older than one that is stored already")]
    StaleReport,
    #[error("this node has no {0} to write log lines")]
    UnknownLogSource(String),
    #[error("there is no archive {0} for a build of this node")]
    NoArchive(String),
    #[error(
        "{feed} was seen at {shown}, which this database has not: it was restored or is a stale primary. Nothing is served until `control-plane admin restored`"
    )]
    Behind { feed: String, shown: String },
    #[error(
        "protocol version {0} is not spoken here, but {OLDEST} to {PROTOCOL}: update the node if that is higher, else the control plane"
    )]
    Protocol(String),
    #[error("others come back at this moment; it is this node's turn in {} ms", .0.as_millis())]
    NotYet(Duration),
    #[error(transparent)]
    RegistryToken(NodeTokenError),
    #[error(transparent)]
    Logs(#[from] logs::Error),
    #[error(transparent)]
    Certificate(#[from] ca::Error),
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<crate::feed::secrets::Error> for Error {
    fn from(error: crate::feed::secrets::Error) -> Self {
        match error {
            crate::feed::secrets::Error::Store(error) => Self::Store(error),
            crate::feed::secrets::Error::Secrets(error) => Self::Secrets(error),
        }
    }
}

impl Error {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoCertificate => "certificate_required",
            Self::ForeignCertificate(_) => "certificate_foreign",
            Self::Denied(_) => "node_denied",
            Self::Fenced(_) => "node_fenced",
            Self::InvalidToken => "join_token_invalid",
            Self::UsedToken => "join_token_used",
            Self::ExpiredToken => "join_token_expired",
            Self::NameTaken { .. } => "node_name_taken",
            Self::OtherKey => "certificate_request_foreign",
            Self::ForeignFeed(_) => "feed_foreign",
            Self::Malformed(_) | Self::Certificate(ca::Error::Request(_)) => "malformed",
            Self::StaleReport => "report_stale",
            Self::NoArchive(_) => "not_found",
            Self::UnknownLogSource(_) => "log_source_unknown",
            Self::Logs(logs::Error::Invalid(_)) => "malformed",
            Self::Logs(logs::Error::Unavailable(_)) => "unavailable",
            Self::Logs(logs::Error::Statement(_)) => "internal",
            Self::Behind { .. } => "database_behind",
            Self::Protocol(_) => "protocol_unsupported",
            Self::NotYet(_) => "turn_later",
            Self::RegistryToken(NodeTokenError::Refused { .. }) => "repository_forbidden",
            Self::RegistryToken(NodeTokenError::Unknown(_)) => "repository_unknown",
            Self::Store(error) | Self::RegistryToken(NodeTokenError::Store(error))
                if error.is_retryable() =>
            {
                "unavailable"
            }
            Self::RegistryToken(_) | Self::Certificate(_) | Self::Secrets(_) | Self::Store(_) => {
                "internal"
            }
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::NoCertificate
            | Self::ForeignCertificate(_)
            | Self::InvalidToken
            | Self::ExpiredToken => StatusCode::UNAUTHORIZED,
            Self::Denied(_) | Self::Fenced(_) | Self::ForeignFeed(_) | Self::OtherKey => {
                StatusCode::FORBIDDEN
            }
            Self::UsedToken | Self::NameTaken { .. } | Self::StaleReport => StatusCode::CONFLICT,
            Self::Malformed(_) | Self::Certificate(ca::Error::Request(_)) => {
                StatusCode::BAD_REQUEST
            }
            Self::NoArchive(_) | Self::UnknownLogSource(_) => StatusCode::NOT_FOUND,
            Self::Logs(logs::Error::Invalid(_)) => StatusCode::BAD_REQUEST,
            Self::Logs(logs::Error::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Logs(logs::Error::Statement(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Behind { .. } | Self::NotYet(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Protocol(_) => StatusCode::UPGRADE_REQUIRED,
            Self::RegistryToken(NodeTokenError::Refused { .. }) => StatusCode::FORBIDDEN,
            Self::RegistryToken(NodeTokenError::Unknown(_)) => StatusCode::BAD_REQUEST,
            Self::Store(error) | Self::RegistryToken(NodeTokenError::Store(error))
                if error.is_retryable() =>
            {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::RegistryToken(_) | Self::Certificate(_) | Self::Secrets(_) | Self::Store(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// What the node may know: faults of ours are only in our log.
    fn detail(&self, request_id: &str) -> String {
        if self.code() == "internal" {
            tracing::error!(error = %self, request_id, "a node's request failed");
            return "the control plane failed; its log has more under this request id".to_owned();
        }
        self.to_string()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let request_id = uuid::Uuid::now_v7().simple().to_string();
        let problem = Problem {
            kind: format!("urn:railhead:problem:{}", self.code()),
            title: status.canonical_reason().unwrap_or("refused").to_owned(),
            status: status.as_u16(),
            detail: self.detail(&request_id),
            code: self.code().to_owned(),
            request_id,
            errors: Vec::new(),
        };
        let json = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, json, Json(problem)).into_response();
        if let Self::NotYet(wait) = self {
            // Rounded up: who comes a little too early is told again.
            let millis = u64::try_from(wait.as_millis() + 1).unwrap_or(u64::MAX);
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER_MS_HEADER, millis.into());
        }
        response
    }
}
