//! The client of the public API that the command line and the tests use. It promises: a pinned
//! certificate authority where one is given, one W3C trace per client, and bounded retries of
//! requests that may be sent twice (reads, and writes that carry an `Idempotency-Key`).

mod call;
mod connection;
mod error;
mod ndjson;
mod trace;

use std::{sync::Arc, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use futures::Stream;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG},
};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

use self::call::Call;
pub use self::{error::Error, trace::Trace};
use crate::page::Page;

const REQUEST_ID: &str = "x-request-id";
/// Waits of 0.2, 0.4, 0.8 and 1.6 s: long enough for a replica's restart, short enough for a person.
const RETRIES: usize = 4;
/// Most pages that [`Client::list`] follows.
const PAGES_MAX: usize = 1_000;

/// Where the API is and how to speak to it.
#[derive(Clone)]
pub struct Config {
    /// Such as `https://railhead.example.com`; a path is kept as prefix.
    pub address: Url,
    /// PEM of the only authorities to trust; the system's when absent.
    pub ca: Option<String>,
    /// A session's or API token.
    pub token: Option<String>,
    /// Says which program asks, for access and audit logs.
    pub user_agent: String,
    /// Called for each answer and each retry.
    pub observer: Observer,
}

/// What a [`Config::observer`] is told.
pub enum Event<'a> {
    /// A request is on its way.
    Sending {
        /// The request's path.
        path: &'a str,
    },
    /// An answer came.
    Answered {
        /// The request's method.
        method: &'a Method,
        /// The request's path.
        path: &'a str,
        /// The answer's status.
        status: StatusCode,
        /// As the server named the request.
        request_id: Option<&'a str>,
        /// From sending to the answer's headers.
        elapsed: Duration,
    },
    /// The request failed and is sent again.
    Retrying {
        /// Why.
        error: &'a Error,
        /// The wait before.
        after: Duration,
    },
}

/// Called for each [`Event`].
pub type Observer = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// A client of one API. Cloning is cheap.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    address: Url,
    token: Option<String>,
    trace: Trace,
    observer: Observer,
}

/// A resource and the `ETag` that an update of it must show.
#[derive(Debug, Clone)]
pub struct Versioned<T> {
    /// The resource.
    pub value: T,
    /// For `If-Match`.
    pub etag: String,
}

impl Client {
    /// Connects nothing yet.
    ///
    /// # Errors
    /// [`Error::Authority`] when the given CA is no PEM certificate.
    pub fn new(config: Config) -> Result<Self, Error> {
        let http = connection::build(config.ca.as_deref(), &config.user_agent)?;
        Ok(Self {
            http,
            address: config.address,
            token: config.token,
            trace: Trace::start(),
            observer: config.observer,
        })
    }

    /// The trace that all requests of this client belong to.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Where the API is.
    #[must_use]
    pub const fn address(&self) -> &Url {
        &self.address
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// Any [`Error`]; so for all methods below.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let answer = self.send(Call::new(Method::GET, path)).await?;
        self.decode(answer).await
    }

    /// Reads a resource with the `ETag` for its update.
    pub async fn get_versioned<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Versioned<T>, Error> {
        let answer = self.send(Call::new(Method::GET, path)).await?;
        let etag = header(&answer, ETAG.as_str()).unwrap_or("*").to_owned();
        let value = self.decode(answer).await?;
        Ok(Versioned { value, etag })
    }

    /// Reads a list whole, page by page.
    pub async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        let mut items = Vec::new();
        let mut next = Some(path.to_owned());
        for _ in 0..PAGES_MAX {
            let Some(address) = next else { break };
            let page: Page<T> = self.get(&address).await?;
            items.extend(page.items);
            next = page
                .next_cursor
                .map(|cursor| with_query(path, &[("cursor", &cursor)]));
        }
        Ok(items)
    }

    /// Creates something, or starts an action; carries an `Idempotency-Key`.
    pub async fn post<B, T>(&self, path: &str, body: &B) -> Result<T, Error>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let answer = self
            .send(Call::new(Method::POST, path).once().json(body)?)
            .await?;
        self.decode(answer).await
    }

    /// Sets a resource to a value.
    pub async fn put<B, T>(&self, path: &str, body: &B) -> Result<T, Error>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let answer = self.send(Call::new(Method::PUT, path).json(body)?).await?;
        self.decode(answer).await
    }

    /// Changes a resource that nobody else has changed since `etag` was read.
    pub async fn patch<B, T>(&self, path: &str, etag: &str, body: &B) -> Result<T, Error>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let call = Call::new(Method::PATCH, path).matching(etag).json(body)?;
        let answer = self.send(call).await?;
        self.decode(answer).await
    }

    /// Deletes a resource.
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        self.send(Call::new(Method::DELETE, path)).await.map(drop)
    }

    /// Sends what the caller composed and gives the answer's bytes back.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        etag: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Result<Bytes, Error> {
        let mut call = Call::new(method, path).once();
        if let Some(etag) = etag {
            call = call.matching(etag);
        }
        if let Some(body) = body {
            call = call.with_body(body.into(), "application/json");
        }
        let answer = self.send(call).await?;
        answer.bytes().await.map_err(|error| self.broken(&error))
    }

    /// Follows a stream of newline-delimited JSON until the server ends it.
    pub async fn ndjson<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<T, Error>> + Send + Unpin + use<T>, Error> {
        let call = Call::new(Method::GET, path)
            .accepting("application/x-ndjson")
            .unhurried();
        let answer = self.send(call).await?;
        Ok(ndjson::lines(answer, self.address.clone()))
    }

    /// Sends `length` bytes; `open` gives them from their beginning for each attempt.
    pub async fn upload<T, S>(
        &self,
        path: &str,
        content_type: &'static str,
        length: u64,
        open: impl Fn() -> S,
    ) -> Result<T, Error>
    where
        T: DeserializeOwned,
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let call = Call::new(Method::POST, path).once().unhurried();
        let request = || {
            Ok(self
                .request(&call)?
                .header(CONTENT_TYPE, content_type)
                .header(CONTENT_LENGTH, length)
                .body(reqwest::Body::wrap_stream(open())))
        };
        let answer = self.repeat(&call, request).await?;
        self.decode(answer).await
    }

    async fn send(&self, call: Call<'_>) -> Result<Response, Error> {
        self.repeat(&call, || self.request(&call)).await
    }

    async fn repeat(
        &self,
        call: &Call<'_>,
        request: impl Fn() -> Result<RequestBuilder, Error>,
    ) -> Result<Response, Error> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_factor(2.0)
            .with_max_times(RETRIES);
        let attempt = || async { self.exchange(call, request()?).await };
        attempt
            .retry(backoff)
            .when(|error| call.may_repeat() && error.is_transient())
            .adjust(|error, delay| delay.map(|delay| error.retry_after().unwrap_or(delay)))
            .notify(|error, after| (self.observer)(&Event::Retrying { error, after }))
            .await
    }

    fn request(&self, call: &Call<'_>) -> Result<RequestBuilder, Error> {
        let url = self
            .address
            .join(call.path.trim_start_matches('/'))
            .map_err(|_| Error::Path(call.path.to_owned()))?;
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .headers(call.headers.clone())
            .header("traceparent", self.trace.traceparent());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        if let Some(deadline) = call.deadline {
            request = request.timeout(deadline);
        }
        Ok(request)
    }

    async fn exchange(&self, call: &Call<'_>, request: RequestBuilder) -> Result<Response, Error> {
        let started = std::time::Instant::now();
        (self.observer)(&Event::Sending { path: call.path });
        let answer = request
            .send()
            .await
            .map_err(|error| Error::of_request(&self.address, &error))?;
        (self.observer)(&Event::Answered {
            method: &call.method,
            path: call.path,
            status: answer.status(),
            request_id: header(&answer, REQUEST_ID),
            elapsed: started.elapsed(),
        });
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(Error::of_answer(&self.address, answer).await)
        }
    }

    async fn decode<T: DeserializeOwned>(&self, answer: Response) -> Result<T, Error> {
        let path = answer.url().path().to_owned();
        let bytes = answer.bytes().await.map_err(|error| self.broken(&error))?;
        let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(text).map_err(|source| Error::Decode { path, source })
    }

    fn broken(&self, error: &reqwest::Error) -> Error {
        Error::interrupted(&self.address, error)
    }
}

/// A path with more query parameters, escaped.
#[must_use]
pub fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    if pairs.is_empty() {
        return path.to_owned();
    }
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}{query}")
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_escaped_and_added() {
        assert_eq!(with_query("/v1/a", &[]), "/v1/a");
        assert_eq!(with_query("/v1/a", &[("q", "a b&c")]), "/v1/a?q=a+b%26c");
        assert_eq!(with_query("/v1/a?x=1", &[("y", "2")]), "/v1/a?x=1&y=2");
    }
}
