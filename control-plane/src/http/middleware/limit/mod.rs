//! Limits of rate: per token, per address (ten times as many, so that a whole office fits behind one
//! address), and a narrow one for signing in. Replicas count together in Redis where there is one;
//! without it, or while it fails, each counts alone.

mod answer;
mod local;
mod shared;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use axum::extract::Request;
use http::Method;

use domain::id::{ApiTokenId, SessionId};

use crate::{
    config,
    identity::{Actor, Credential},
};

use self::{local::Local, shared::Shared};

pub use answer::is_rate_header;
pub use shared::InvalidUrl;

/// An address may make this many times what one token may.
const ADDRESS_FACTOR: u32 = 10;

/// What is counted, each with a quota of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Reads,
    Writes,
    AddressReads,
    AddressWrites,
    Logins,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::AddressReads => "address-reads",
            Self::AddressWrites => "address-writes",
            Self::Logins => "logins",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Caller {
    Session(SessionId),
    ApiToken(ApiTokenId),
    Address(Option<IpAddr>),
}

/// Whom a request counts for, and as what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    kind: Kind,
    caller: Caller,
}

impl Account {
    /// The address that a request came from.
    #[must_use]
    pub fn of_address(request: &Request) -> Self {
        let login = request.method() == Method::POST && request.uri().path() == "/v1/sessions";
        let kind = match (login, is_read(request.method())) {
            (true, _) => Kind::Logins,
            (false, true) => Kind::AddressReads,
            (false, false) => Kind::AddressWrites,
        };
        Self {
            kind,
            caller: Caller::Address(network(request)),
        }
    }

    /// The token that a request came with.
    #[must_use]
    pub fn of_actor(actor: &Actor, request: &Request) -> Self {
        let kind = match is_read(request.method()) {
            true => Kind::Reads,
            false => Kind::Writes,
        };
        let caller = match actor.credential {
            Credential::Session(id) => Caller::Session(id),
            Credential::ApiToken { id, .. } => Caller::ApiToken(id),
        };
        Self { kind, caller }
    }
}

/// The network that a request came from.
pub fn network(request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<crate::listen::Peer>()?;
    Some(network_of(peer.address.ip()))
}

/// An IPv4 address, or what one customer has of IPv6: 64 bits that the client chooses itself count for nothing.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The name of its counter.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "railhead:rate:{}:", self.kind.word())?;
        match &self.caller {
            Caller::Session(id) => id.fmt(f),
            Caller::ApiToken(id) => id.fmt(f),
            Caller::Address(Some(address)) => address.fmt(f),
            Caller::Address(None) => f.write_str("unknown"),
        }
    }
}

/// What is left of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    quota: NonZeroU32,
    remaining: u32,
    /// Until nothing is spent any more.
    reset: Duration,
}

/// Too many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    quota: NonZeroU32,
    /// Until the next one is admitted.
    wait: Duration,
}

/// Requests per minute.
#[derive(Debug, Clone, Copy)]
struct Quotas {
    reads: NonZeroU32,
    writes: NonZeroU32,
    logins: NonZeroU32,
}

impl Quotas {
    fn new(config: &config::Limits) -> Self {
        let quota = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            reads: quota(config.reads_per_minute),
            writes: quota(config.writes_per_minute),
            logins: quota(config.logins_per_minute),
        }
    }

    fn of(self, kind: Kind) -> NonZeroU32 {
        let factor = NonZeroU32::MIN.saturating_add(ADDRESS_FACTOR - 1);
        match kind {
            Kind::Reads => self.reads,
            Kind::Writes => self.writes,
            Kind::AddressReads => self.reads.saturating_mul(factor),
            Kind::AddressWrites => self.writes.saturating_mul(factor),
            Kind::Logins => self.logins,
        }
    }
}

/// Every counter.
pub struct Limits {
    quotas: Quotas,
    local: Local,
    shared: Option<Shared>,
}

impl Limits {
    /// As configured. A Redis that is away is tried again in the background.
    ///
    /// # Errors
    /// When its address is malformed.
    pub async fn connect(
        config: &config::Limits,
        redis: Option<&config::Redis>,
    ) -> Result<Self, InvalidUrl> {
        let quotas = Quotas::new(config);
        let shared = match redis {
            Some(redis) => Some(Shared::connect(redis).await?),
            None => None,
        };
        Ok(Self {
            quotas,
            local: Local::new(quotas),
            shared,
        })
    }

    /// Counts a request.
    ///
    /// # Errors
    /// When there were too many.
    pub async fn admit(&self, account: Account) -> Result<Spent, Refused> {
        // Counted here too, so that a Redis that fails does not hand out whole quotas anew.
        let local = self.local.admit(&account);
        let Some(shared) = &self.shared else {
            return local;
        };
        let quota = self.quotas.of(account.kind);
        shared.admit(&account, quota).await.unwrap_or(local)
    }

    /// Whether there should be a Redis, and this replica counts alone. Whoever asks in a request knows it of now:
    /// the request was counted before.
    #[must_use]
    pub fn lacks_redis(&self) -> bool {
        self.shared.as_ref().is_some_and(Shared::is_away)
    }

    /// Forgets callers that have their whole quota again.
    pub fn forget_idle(&self) {
        self.local.forget_idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_counts_by_its_network_and_a_mapped_one_by_its_address() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(network("203.0.113.7"), "203.0.113.7");
    }
}
