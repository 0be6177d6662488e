//! What the requests are that a rate limit counts together.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::check::is_header_name;

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RateLimitKey {
    /// Requests of one address; of IPv6, of one /64.
    Ip,
    /// Requests with the same value of a header (lower case); those without it count as one more value.
    Header(String),
    /// Requests from one country. None is counted while it is not known.
    Country,
    /// Requests from one autonomous system. None is counted while it is not known.
    Asn,
    /// All requests.
    Service,
}

/// A text that is no key of a rate limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is none of ip, country, asn, service and header:<name>")]
pub struct InvalidRateLimitKey(String);

impl FromStr for RateLimitKey {
    type Err = InvalidRateLimitKey;

    fn from_str(text: &str) -> Result<Self, InvalidRateLimitKey> {
        match text {
            "ip" => Ok(Self::Ip),
            "country" => Ok(Self::Country),
            "asn" => Ok(Self::Asn),
            "service" => Ok(Self::Service),
            _ => match text.strip_prefix("header:") {
                Some(name) if is_header_name(name) => Ok(Self::Header(name.to_ascii_lowercase())),
                _ => Err(InvalidRateLimitKey(text.chars().take(64).collect())),
            },
        }
    }
}

impl fmt::Display for RateLimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip => f.write_str("ip"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Country => f.write_str("country"),
            Self::Asn => f.write_str("asn"),
            Self::Service => f.write_str("service"),
        }
    }
}

impl Serialize for RateLimitKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RateLimitKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_they_are_read() {
        for text in ["ip", "country", "asn", "service", "header:x-api-key"] {
            assert_eq!(text.parse::<RateLimitKey>().unwrap().to_string(), text);
        }
        for text in ["", "IP", "header:", "header:a b", "header:\r\n", "cookie"] {
            assert!(text.parse::<RateLimitKey>().is_err(), "{text:?}");
        }
    }
}
