//! Requests to an authority: with limits of time and size, and with an ear for how long it asks to be left alone.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use http::{HeaderMap, Request, StatusCode, header::RETRY_AFTER};
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};

use super::Error;
use crate::config;

/// One request, its answer included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long an authority may ask to be left alone.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Of an answer; a chain of certificates has a few kilobytes.
const ANSWER_MAX: usize = 1 << 20;

/// How long an authority wants to be left alone, as it last said.
#[derive(Debug, Clone, Default)]
pub struct Patience(Arc<AtomicU64>);

impl Patience {
    /// What it said since this was last asked.
    pub fn take(&self) -> Option<Duration> {
        match self.0.swap(0, Ordering::Relaxed) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    fn hear(&self, status: StatusCode, headers: &HeaderMap) {
        let refused = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        if let Some(wait) = retry_after(headers, Utc::now()).filter(|_| refused.contains(&status)) {
            self.0.store(wait.as_secs().max(1), Ordering::Relaxed);
        }
    }
}

/// The header with no more than anybody may ask for: others reckon with it, too.
fn tame(headers: &mut HeaderMap) {
    let wait = retry_after(headers, Utc::now()).filter(|wait| *wait <= PATIENCE_MAX);
    if headers.contains_key(RETRY_AFTER) {
        let seconds = wait.map_or(PATIENCE_MAX.as_secs(), |wait| wait.as_secs());
        headers.insert(RETRY_AFTER, seconds.into());
    }
}

/// A number of seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?.with_timezone(&Utc);
    (until - now).to_std().ok()
}

/// The client of one authority.
pub struct Transport {
    http: reqwest::Client,
    patience: Patience,
}

impl Transport {
    /// With the certificates that the configuration trusts, else those that the machine does.
    ///
    /// # Errors
    /// When the file of certificates can't be read.
    pub fn new(authority: &config::Authority, patience: Patience) -> Result<Self, Error> {
        let mut builder = reqwest::Client::builder().timeout(TIMEOUT).https_only(true);
        if let Some(file) = &authority.root_file {
            let failed = |reason: String| Error::Root {
                path: file.clone(),
                reason,
            };
            let pem = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| failed(error.to_string()))?;
            builder = builder.tls_certs_only(roots);
        }
        Ok(Self {
            http: builder.build().map_err(Error::Client)?,
            patience,
        })
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let (http, patience) = (self.http.clone(), self.patience.clone());
        Box::pin(async move {
            let answered = ask(&http, &patience, request).await;
            answered.map_err(instant_acme::Error::Other)
        })
    }
}

async fn ask(
    http: &reqwest::Client,
    patience: &Patience,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Failure> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let url = reqwest::Url::parse(&parts.uri.to_string())?;
    let asking = http.request(parts.method, url).headers(parts.headers);
    let mut answer = asking.body(body).send().await?;
    tame(answer.headers_mut());
    patience.hear(answer.status(), answer.headers());
    let mut whole = BytesMut::new();
    while let Some(piece) = answer.chunk().await? {
        if whole.len() + piece.len() > ANSWER_MAX {
            return Err(format!("the answer has more than {ANSWER_MAX} bytes").into());
        }
        whole.extend_from_slice(&piece);
    }
    let head: http::Response<reqwest::Body> = answer.into();
    Ok(BytesResponse {
        parts: head.into_parts().0,
        body: Box::new(whole.freeze()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(status: u16, text: &'static str) -> Option<Duration> {
        let patience = Patience::default();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        patience.hear(StatusCode::from_u16(status).unwrap(), &headers);
        let heard = patience.take();
        assert_eq!(patience.take(), None);
        heard
    }

    #[test]
    fn only_a_refusal_asks_for_patience() {
        assert_eq!(heard(429, "120"), Some(Duration::from_secs(120)));
        assert_eq!(heard(503, "0"), Some(Duration::from_secs(1)));
        for (status, text) in [(200, "5"), (429, "soon"), (429, "-1")] {
            assert_eq!(heard(status, text), None, "{status} {text}");
        }
    }

    #[test]
    fn nobody_asks_for_more_than_a_day() {
        for (text, seconds) in [
            ("60", "60"),
            ("99999999999999999999", "86400"),
            ("86401", "86400"),
            ("x", "86400"),
        ] {
            let mut headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            tame(&mut headers);
            assert_eq!(headers[RETRY_AFTER], seconds, "{text}");
        }
        let mut none = HeaderMap::new();
        tame(&mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn a_date_is_counted_from_now() {
        let headers = HeaderMap::from_iter([(
            RETRY_AFTER,
            "Sun, 22 Nov 2026 10:00:30 GMT".parse().unwrap(),
        )]);
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(30)));
        let later = "2026-11-22T11:00:00Z".parse().unwrap();
        assert_eq!(retry_after(&headers, later), None);
    }
}
