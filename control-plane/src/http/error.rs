//! Errors as RFC 9457 problem documents. A handler's error travels to the outermost layer as an
//! extension of the response; there it gets the request's id and, where due, an audit event.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use api::problem::{Code, FieldError, Problem};
use domain::id::OrganizationId;

use crate::{app, store};

/// Why a request is not done. Every handler and extractor fails with this.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The stable code.
    pub code: Code,
    /// What was tried, on what, and what to do.
    pub detail: String,
    /// What is wrong with which field.
    pub errors: Vec<FieldError>,
    /// Whose log has to know.
    pub organization: Option<OrganizationId>,
    /// The id that wasn't found exists, elsewhere.
    pub foreign: bool,
}

impl Failure {
    /// A failure without faults of single fields.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            organization: None,
            foreign: false,
        }
    }

    /// A fault of one field.
    pub fn field(code: Code, field: impl Into<String>, reason: impl Into<String>) -> Self {
        let (field, reason) = (field.into(), reason.into());
        let mut failure = Self::new(code, format!("{field}: {reason}"));
        failure.errors.push(FieldError { field, reason });
        failure
    }

    /// The document that the client gets.
    #[must_use]
    pub fn problem(&self, request_id: &str) -> Problem {
        Problem {
            kind: format!("urn:railhead:problem:{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone(),
            code: self.code.as_str().to_owned(),
            request_id: request_id.to_owned(),
            errors: self.errors.clone(),
        }
    }

    /// The whole response.
    #[must_use]
    pub fn render(&self, request_id: &str) -> Response {
        let body = serde_json::to_vec(&self.problem(request_id)).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self.code, Code::Unavailable | Code::RateLimited) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<app::Error> for Failure {
    fn from(error: app::Error) -> Self {
        let code = error.code();
        let mut failure = Self::new(code, error.to_string());
        match error {
            app::Error::Refused { errors, .. } => failure.errors = errors,
            app::Error::NotFound { foreign, .. } => failure.foreign = foreign,
            app::Error::Forbidden { organization, .. }
            | app::Error::InvalidCredentials { organization } => {
                failure.organization = organization;
            }
            app::Error::Store(store::Error::ReadOnly(_)) => {
                tracing::warn!(error = %failure.detail, "the database takes no changes");
                failure.detail =
                    "the database takes no changes at the moment; try again".to_owned();
            }
            app::Error::Store(_) if code == Code::Unavailable => {
                tracing::warn!(error = %failure.detail, "the database can't be reached");
                failure.detail = "the database can't be reached; try again".to_owned();
            }
            app::Error::Store(_) | app::Error::Internal(_) => {
                tracing::error!(error = %failure.detail, "a request failed by a fault of ours");
                failure.detail = "a fault of the platform; its operator finds more in the log \
                                  under this request id"
                    .to_owned();
            }
            app::Error::Unauthenticated(_) | app::Error::Busy(_) | app::Error::Unavailable(_) => {}
        }
        failure
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        app::Error::from(error).into()
    }
}

impl From<store::page::Error> for Failure {
    fn from(error: store::page::Error) -> Self {
        Self::new(Code::MalformedQuery, error.to_string())
    }
}
