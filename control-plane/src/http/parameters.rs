//! The request headers that many operations share, as the OpenAPI document describes them.
//! [`super::extract`] reads them.

use utoipa::IntoParams;

/// Of creates.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described, never made")]
pub struct IdempotencyKey {
    /// Makes a repetition harmless for a day.
    #[param(rename = "Idempotency-Key", nullable)]
    idempotency_key: Option<String>,
}

/// Of changes that need to know what they change.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described, never made")]
pub struct IfMatch {
    /// The ETag that was read, or *.
    #[param(rename = "If-Match")]
    if_match: String,
}

/// Of changes that may say what they expect.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "described, never made")]
pub struct OptionalIfMatch {
    /// The ETag that was read, or *.
    #[param(rename = "If-Match", nullable)]
    if_match: Option<String>,
}
