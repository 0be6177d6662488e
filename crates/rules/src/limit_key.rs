//! Which bucket of a rate limit a request is counted in.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use domain::spec::RateLimitKey;
use http::HeaderName;

use crate::Request;

/// Requests with equal keys are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitKey<'a> {
    /// An IPv4 address, or a /64 of IPv6: bits that the client chooses itself count for nothing.
    Network(IpAddr),
    /// Of a header; empty when it is absent.
    Value(Cow<'a, str>),
    /// Of a country.
    Country([u8; 2]),
    /// Of an autonomous system.
    Asn(u32),
    /// The one bucket of a service.
    Service,
}

/// What a key is made of, read once.
#[derive(Debug, Clone)]
pub(crate) enum KeySource {
    Ip,
    Header(HeaderName),
    Country,
    Asn,
    Service,
}

impl KeySource {
    /// None when the header's name is none.
    pub(crate) fn of(key: &RateLimitKey) -> Option<Self> {
        Some(match key {
            RateLimitKey::Ip => Self::Ip,
            RateLimitKey::Header(name) => Self::Header(name.parse().ok()?),
            RateLimitKey::Country => Self::Country,
            RateLimitKey::Asn => Self::Asn,
            RateLimitKey::Service => Self::Service,
        })
    }

    /// Whether it needs to know where the client is.
    pub(crate) const fn needs_place(&self) -> bool {
        matches!(self, Self::Country | Self::Asn)
    }

    /// None when nobody knows where the client is: requests from nowhere have nothing in common.
    pub(crate) fn key<'a>(&self, request: &'a Request<'_>) -> Option<LimitKey<'a>> {
        match self {
            Self::Ip => Some(LimitKey::Network(network_of(request.ip))),
            Self::Header(name) => Some(LimitKey::Value(request.header(name))),
            Self::Country => {
                let code = request.place.country().as_bytes().try_into().ok()?;
                Some(LimitKey::Country(code))
            }
            Self::Asn => (request.place.asn != 0).then_some(LimitKey::Asn(request.place.asn)),
            Self::Service => Some(LimitKey::Service),
        }
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

/// The same text at every edge.
impl fmt::Display for LimitKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => write!(f, "ip:{address}"),
            Self::Value(value) => write!(f, "header:{value}"),
            Self::Country(code) => write!(f, "country:{}", String::from_utf8_lossy(code)),
            Self::Asn(asn) => write!(f, "asn:{asn}"),
            Self::Service => f.write_str("service"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::Place;

    fn key(key: &str, ip: &str, place: Place) -> Option<String> {
        let headers = HeaderMap::new();
        let mut request = Request::new("GET", "/", "a.test", &headers, ip.parse().unwrap());
        request.place = place;
        let source = KeySource::of(&key.parse().unwrap()).unwrap();
        source.key(&request).map(|key| key.to_string())
    }

    #[test]
    fn who_is_counted_together() {
        let here = Place::new(Some("DE"), 64_500);
        for (wanted, ip, expected) in [
            ("ip", "203.0.113.7", "ip:203.0.113.7"),
            ("ip", "::ffff:203.0.113.7", "ip:203.0.113.7"),
            ("ip", "2001:db8:1:2:3:4:5:6", "ip:2001:db8:1:2::"),
            ("header:x-key", "203.0.113.7", "header:"),
            ("country", "203.0.113.7", "country:DE"),
            ("asn", "203.0.113.7", "asn:64500"),
            ("service", "203.0.113.7", "service"),
        ] {
            assert_eq!(key(wanted, ip, here).as_deref(), Some(expected));
        }
        for unknown in ["country", "asn"] {
            assert_eq!(key(unknown, "203.0.113.7", Place::default()), None);
        }
    }
}
