//! Limits of rate: per token, per address (ten times as many, so that a whole office fits behind one
//! address), and a narrow one for signing in. Counted in this process.

use std::{hash::Hash, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use axum::extract::Request;
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::{StateInformationMiddleware, StateSnapshot},
    state::keyed::DefaultKeyedStateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use api::problem::Code;
use domain::id::{ApiTokenId, SessionId};

use crate::{
    config,
    identity::{Actor, Credential},
};

use super::Failure;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// An address may make this many times what one token may.
const ADDRESS_FACTOR: u32 = 10;

type Keyed<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Caller {
    Session(SessionId),
    ApiToken(ApiTokenId),
}

/// Clones share the counters.
#[derive(Clone)]
pub struct Limits(Arc<Counters>);

struct Counters {
    reads: Keyed<Caller>,
    writes: Keyed<Caller>,
    address_reads: Keyed<Option<IpAddr>>,
    address_writes: Keyed<Option<IpAddr>>,
    logins: Keyed<Option<IpAddr>>,
}

impl Limits {
    /// As configured.
    #[must_use]
    pub fn new(config: &config::Limits) -> Self {
        let (reads, writes) = (config.reads_per_minute, config.writes_per_minute);
        Self(Arc::new(Counters {
            reads: keyed(reads),
            writes: keyed(writes),
            address_reads: keyed(reads.saturating_mul(ADDRESS_FACTOR)),
            address_writes: keyed(writes.saturating_mul(ADDRESS_FACTOR)),
            logins: keyed(config.logins_per_minute),
        }))
    }

    /// Counts a request of an address.
    ///
    /// # Errors
    /// When there were too many.
    pub fn admit_address(&self, request: &Request) -> Result<Spent, Refused> {
        let peer = request.extensions().get::<crate::listen::Peer>();
        let address = peer.map(|peer| peer.address.ip());
        let login = request.method() == Method::POST && request.uri().path() == "/v1/sessions";
        let counter = match (login, is_read(request.method())) {
            (true, _) => &self.0.logins,
            (false, true) => &self.0.address_reads,
            (false, false) => &self.0.address_writes,
        };
        check(counter, &address)
    }

    /// Counts a request of a token.
    ///
    /// # Errors
    /// When there were too many.
    pub fn admit_actor(&self, actor: &Actor, request: &Request) -> Result<Spent, Refused> {
        let caller = match actor.credential {
            Credential::Session(id) => Caller::Session(id),
            Credential::ApiToken { id, .. } => Caller::ApiToken(id),
        };
        if is_read(request.method()) {
            check(&self.0.reads, &caller)
        } else {
            check(&self.0.writes, &caller)
        }
    }

    /// Forgets callers that have their whole quota again.
    pub fn forget_idle(&self) {
        self.0.reads.retain_recent();
        self.0.writes.retain_recent();
        self.0.address_reads.retain_recent();
        self.0.address_writes.retain_recent();
        self.0.logins.retain_recent();
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn keyed<K: Hash + Eq + Clone>(per_minute: u32) -> Keyed<K> {
    let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
    DefaultKeyedRateLimiter::keyed(quota).with_middleware()
}

fn check<K: Hash + Eq + Clone>(counter: &Keyed<K>, key: &K) -> Result<Spent, Refused> {
    match counter.check_key(key) {
        Ok(state) => Ok(Spent(state)),
        Err(refused) => Err(Refused {
            quota: refused.quota(),
            wait: refused.wait_time_from(DefaultClock::default().now()),
        }),
    }
}

/// What is left of a quota.
pub struct Spent(StateSnapshot);

impl Spent {
    /// Tells the client.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        let quota = self.0.quota();
        let remaining = self.0.remaining_burst_capacity();
        let used = quota.burst_size().get().saturating_sub(remaining);
        write(headers, quota, remaining, quota.replenish_interval() * used);
    }
}

/// Too many requests.
pub struct Refused {
    quota: Quota,
    wait: Duration,
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
                self.quota.burst_size()
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

fn write(headers: &mut HeaderMap, quota: Quota, remaining: u32, reset: Duration) {
    headers.insert(LIMIT, HeaderValue::from(quota.burst_size().get()));
    headers.insert(REMAINING, HeaderValue::from(remaining));
    headers.insert(RESET, HeaderValue::from(whole_seconds(reset)));
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
