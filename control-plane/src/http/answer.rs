//! Answers: JSON, with the version as `ETag` where the thing has one.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::Failure;

/// What every JSON handler returns.
pub type Result<T> = std::result::Result<T, Failure>;

/// A thing with a version.
pub trait Versioned {
    /// For the `ETag`.
    fn version(&self) -> i64;
}

macro_rules! versioned {
    ($($type:ty)*) => {$(
        impl Versioned for $type {
            fn version(&self) -> i64 {
                self.version
            }
        }
    )*};
}

versioned! {
    api::organization::Organization api::user::Member api::project::Project
    api::environment::Environment api::service::Service api::variable::Variable
    api::deployment::Deployment api::region::Region api::node::Node
}

/// `200` with an `ETag`.
pub struct Tagged<T>(pub T);

impl<T: Versioned + Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        tagged(StatusCode::OK, self.0)
    }
}

/// `201` with an `ETag`.
pub struct CreatedTagged<T>(pub T);

impl<T: Versioned + Serialize> IntoResponse for CreatedTagged<T> {
    fn into_response(self) -> Response {
        tagged(StatusCode::CREATED, self.0)
    }
}

/// `201`.
pub struct Created<T>(pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

fn tagged<T: Versioned + Serialize>(status: StatusCode, body: T) -> Response {
    let etag = HeaderValue::from_str(&format!("\"{}\"", body.version()));
    let mut response = (status, Json(body)).into_response();
    if let Ok(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}
