//! How a client is told of its quota.

use std::{num::NonZeroU32, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use api::problem::Code;

use super::{super::Failure, Refused, Spent};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

impl Spent {
    /// Tells the client.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        write(headers, self.quota, self.remaining, self.reset);
    }
}

impl Refused {
    /// The whole answer.
    #[must_use]
    pub fn render(&self, request_id: &str) -> axum::response::Response {
        let seconds = whole_seconds(self.wait);
        let failure = Failure::new(
            Code::RateLimited,
            format!(
                "more than {} requests of this kind in a minute; try again in {seconds} s",
                self.quota
            ),
        );
        let mut response = failure.render(request_id);
        let headers = response.headers_mut();
        write(headers, self.quota, 0, self.wait);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        response
    }
}

/// Whether a header is one of ours.
pub fn is_rate_header(name: &HeaderName) -> bool {
    [LIMIT, REMAINING, RESET].contains(name)
}

fn write(headers: &mut HeaderMap, quota: NonZeroU32, remaining: u32, reset: Duration) {
    headers.insert(LIMIT, HeaderValue::from(quota.get()));
    headers.insert(REMAINING, HeaderValue::from(remaining));
    headers.insert(RESET, HeaderValue::from(whole_seconds(reset)));
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
