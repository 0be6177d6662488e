//! One request of the client: what it carries, how long it may take, and whether it may be sent
//! twice.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH},
};
use serde::Serialize;

use super::Error;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Of everything but streams and uploads.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// One request, kept so that it can be sent again.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) deadline: Option<Duration>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
            body: None,
            deadline: Some(ANSWER_WITHIN),
        }
    }

    pub(super) fn once(mut self) -> Self {
        if let Ok(key) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
            self.headers.insert(IDEMPOTENCY_KEY, key);
        }
        self
    }

    pub(super) fn json<B: Serialize + ?Sized>(self, body: &B) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(Error::Encode)?;
        Ok(self.with_body(body.into(), "application/json"))
    }

    pub(super) fn with_body(mut self, body: Bytes, content_type: &'static str) -> Self {
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = Some(body);
        self
    }

    pub(super) fn matching(mut self, etag: &str) -> Self {
        if let Ok(etag) = HeaderValue::from_str(etag) {
            self.headers.insert(IF_MATCH, etag);
        }
        self
    }

    pub(super) fn accepting(mut self, content_type: &'static str) -> Self {
        self.headers
            .insert(ACCEPT, HeaderValue::from_static(content_type));
        self
    }

    pub(super) fn unhurried(mut self) -> Self {
        self.deadline = None;
        self
    }

    pub(super) fn may_repeat(&self) -> bool {
        self.method.is_idempotent() || self.headers.contains_key(IDEMPOTENCY_KEY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_sent_twice_is_repeated() {
        assert!(Call::new(Method::GET, "/v1/me").may_repeat());
        assert!(Call::new(Method::DELETE, "/v1/me").may_repeat());
        assert!(!Call::new(Method::POST, "/v1/me").may_repeat());
        assert!(Call::new(Method::POST, "/v1/me").once().may_repeat());
        assert!(!Call::new(Method::PATCH, "/v1/me").may_repeat());
    }
}
