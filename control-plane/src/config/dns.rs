//! The part `[dns]`: who is asked where tenants' hostnames lead, and who serves the zone that the platform's own
//! names are in.

mod route53;

pub use route53::{Placing, Policy, Route53};

use std::{net::SocketAddr, path::PathBuf};

use domain::quantity::Span;
use serde::Deserialize;

use super::{is_domain, is_within};

/// Caches forget an answer after this long at most, so that an edge that has gone is forgotten too.
const TTL: Span = Span::seconds(60);
const TTL_MAX: Span = Span::seconds(86_400);

/// The domain name system.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// `address:port` of the name servers that tenants' own hostnames are looked up with; the system's
    /// (`/etc/resolv.conf`) when none is named.
    pub resolvers: Vec<SocketAddr>,
    /// Who serves the zone of the platform's names; without it an operator keeps its records.
    pub provider: Option<Provider>,
}

/// Who serves the zone of the platform's names.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct Provider {
    /// The zone; the platform's domain is it, or below it.
    pub zone: String,
    /// Names that shall lead to edges; see [`Self::names`].
    names: Vec<String>,
    /// How long caches keep an answer.
    ttl: Span,
    /// `address:port` of the name servers that are asked whether they serve a record; the zone's own when none is named.
    pub name_servers: Vec<SocketAddr>,
    /// How it is written.
    pub service: Service,
}

/// How a zone is written.
#[derive(Debug, Clone)]
pub enum Service {
    /// By dynamic updates to its primary name server.
    Rfc2136(Rfc2136),
    /// Amazon Route 53.
    Route53(Route53),
}

/// A name server that takes dynamic updates (RFC 2136) and gives the zone away (AXFR), both signed with one key (TSIG).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rfc2136 {
    /// `address:port` of the zone's primary name server; TCP is used.
    pub server: SocketAddr,
    /// The key's name, as the server knows it.
    pub key_name: String,
    /// Its algorithm.
    #[serde(default)]
    pub key_algorithm: Algorithm,
    /// Holds the key, in Base64.
    pub key_file: PathBuf,
}

/// Algorithms of TSIG keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// `hmac-sha256`.
    #[default]
    HmacSha256,
    /// `hmac-sha384`.
    HmacSha384,
    /// `hmac-sha512`.
    HmacSha512,
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    zone: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default = "default_ttl")]
    ttl: Span,
    #[serde(default)]
    name_servers: Vec<SocketAddr>,
    rfc2136: Option<Rfc2136>,
    route53: Option<Route53>,
}

const fn default_ttl() -> Span {
    TTL
}

impl TryFrom<Written> for Provider {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let service = match (written.rfc2136, written.route53) {
            (Some(service), None) => Service::Rfc2136(service),
            (None, Some(service)) => Service::Route53(service),
            (None, None) | (Some(_), Some(_)) => {
                return Err(
                    "dns.provider needs one of [dns.provider.rfc2136] and [dns.provider.route53]",
                );
            }
        };
        Ok(Self {
            zone: written.zone,
            names: written.names,
            ttl: written.ttl,
            name_servers: written.name_servers,
            service,
        })
    }
}

impl Dns {
    pub(super) fn check(&self, platform_domain: &str) -> Result<(), String> {
        self.provider
            .as_ref()
            .map_or(Ok(()), |provider| provider.check(platform_domain))
    }
}

impl Provider {
    /// Names that shall lead to edges: the platform's domain and all below it, unless the file says otherwise.
    #[must_use]
    pub fn names(&self, platform_domain: &str) -> Vec<String> {
        if self.names.is_empty() {
            vec![platform_domain.to_owned(), format!("*.{platform_domain}")]
        } else {
            self.names.clone()
        }
    }

    /// How long caches keep an answer, in seconds.
    #[must_use]
    pub fn ttl_seconds(&self) -> u32 {
        u32::try_from(self.ttl.as_millis() / 1_000).unwrap_or(u32::MAX)
    }

    fn check(&self, platform_domain: &str) -> Result<(), String> {
        let zone = &self.zone;
        if !is_domain(zone) || !is_within(platform_domain, zone) {
            return Err(format!(
                "dns.provider.zone must be the zone that {platform_domain} is in, in lower case and without a dot at \
                 its end, not \"{zone}\""
            ));
        }
        for name in &self.names {
            let plain = name.strip_prefix("*.").unwrap_or(name);
            if !is_domain(plain) || !is_within(plain, platform_domain) {
                return Err(format!(
                    "dns.provider.names must be {platform_domain} or below it, not \"{name}\""
                ));
            }
        }
        if self.ttl < Span::seconds(1) || self.ttl > TTL_MAX {
            return Err("dns.provider.ttl must be between 1s and 24h".to_owned());
        }
        match &self.service {
            Service::Rfc2136(_) => Ok(()),
            Service::Route53(route53) => route53.check(),
        }
    }
}

#[cfg(test)]
mod tests;
