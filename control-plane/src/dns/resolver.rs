//! Asks the domain name system where tenants' hostnames lead and what their owners say there. Answers
//! are not kept, no search domain is tried, and the machine's hosts file is not read.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
    lookup::Lookup,
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, Record, RecordType, rdata::CAA},
    },
};

use crate::config;

/// A server that hasn't answered one question by then is asked again, or another one is.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Repetitions of one question.
const REPEATS: usize = 1;
/// Of one zone; none has more.
const NAME_SERVERS: usize = 13;

/// Why a name has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// NXDOMAIN.
    #[error("there is no such name")]
    NoSuchName,
    /// SERVFAIL, REFUSED and the like.
    #[error("its name server says \"{0}\"")]
    Failed(String),
    /// Nobody answers in time.
    #[error("its name server does not answer")]
    Silent,
    /// Neither the configuration nor the system names a server.
    #[error("this platform has no name server to ask; its operator can set dns.resolvers")]
    NoServer,
    /// Anything else.
    #[error("it can't be looked up: {0}")]
    Other(String),
}

/// Asks the configured name servers, or the system's.
#[derive(Clone)]
pub struct Resolver(Option<TokioResolver>);

impl Resolver {
    /// As configured. Without any name server every question fails, and nothing else.
    #[must_use]
    pub fn new(config: &config::Dns) -> Self {
        Self::asking(&config.resolvers)
    }

    /// Asks these name servers, or the system's when there are none.
    #[must_use]
    pub fn asking(servers: &[SocketAddr]) -> Self {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().map(name_server).collect();
            let servers = ResolverConfig::from_name_servers(servers);
            let provider = TokioRuntimeProvider::default();
            Ok(TokioResolver::builder_with_config(servers, provider))
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.timeout = TIMEOUT;
            options.attempts = REPEATS;
            options.cache_size = 0;
            options.use_hosts_file = ResolveHosts::Never;
            builder.build()
        });
        Self(
            resolver
                .inspect_err(|error| {
                    tracing::warn!(%error, "no name server: tenants' own hostnames can't be checked");
                })
                .ok(),
        )
    }

    /// Where the name leads, aliases followed, in both families; nothing when it has other records only.
    ///
    /// # Errors
    /// When it doesn't exist, or nobody knows.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        let (v4, v6) = tokio::join!(
            self.ask(name, RecordType::A),
            self.ask(name, RecordType::AAAA)
        );
        let lookups = [v4?, v6?];
        let records = lookups.iter().flatten().flat_map(Lookup::answers);
        let addresses = records.filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0.into()),
            RData::AAAA(address) => Some(address.0.into()),
            _ => None,
        });
        Ok(addresses.collect())
    }

    /// What the name's TXT records say; nothing when there are none.
    ///
    /// # Errors
    /// When nobody knows.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let lookup = match self.ask(name, RecordType::TXT).await {
            Ok(Some(lookup)) => lookup,
            Ok(None) | Err(Error::NoSuchName) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let texts = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::TXT(text) => Some(text.to_string()),
                _ => None,
            });
        Ok(texts.collect())
    }

    /// Where a zone's own name servers are.
    ///
    /// # Errors
    /// When the zone doesn't exist, or nobody knows.
    pub async fn name_servers(&self, zone: &str) -> Result<Vec<IpAddr>, Error> {
        let lookup = self.ask(zone, RecordType::NS).await?;
        let names = lookup.iter().flat_map(Lookup::answers);
        let names = names.filter_map(|record| match &record.data {
            RData::NS(name) => Some(name.0.to_ascii()),
            _ => None,
        });
        let mut addresses = Vec::new();
        for name in names.take(NAME_SERVERS) {
            addresses.extend(self.addresses(name.trim_end_matches('.')).await?);
        }
        Ok(addresses)
    }

    /// Which authorities may issue certificates for a name: the identities in the CAA records at it, or at the nearest name
    /// above that has some (RFC 8659 §3). None when anybody may.
    ///
    /// # Errors
    /// When nobody knows.
    pub async fn issuers(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        let mut at = name;
        loop {
            let lookup = match self.ask(at, RecordType::CAA).await {
                Ok(lookup) => lookup,
                Err(Error::NoSuchName) => None,
                Err(error) => return Err(error),
            };
            let records: Vec<&CAA> = lookup
                .iter()
                .flat_map(Lookup::answers)
                .filter_map(caa)
                .collect();
            if !records.is_empty() {
                let issue = records
                    .iter()
                    .filter(|record| record.tag.eq_ignore_ascii_case("issue"));
                let issuers: Vec<String> = issue.map(|record| issuer(&record.value)).collect();
                return Ok((!issuers.is_empty()).then_some(issuers));
            }
            match at.split_once('.') {
                Some((_, parent)) => at = parent,
                None => return Ok(None),
            }
        }
    }

    /// None when the name exists without a record of that type.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<Option<Lookup>, Error> {
        let resolver = self.0.as_ref().ok_or(Error::NoServer)?;
        let name = Name::from_ascii(format!("{name}.")).map_err(|e| Error::Other(e.to_string()))?;
        match resolver.lookup(name, kind).await {
            Ok(lookup) => Ok(Some(lookup)),
            Err(error) => refusal(error).map_or(Ok(None), Err),
        }
    }
}

fn caa(record: &Record) -> Option<&CAA> {
    match &record.data {
        RData::CAA(record) => Some(record),
        _ => None,
    }
}

/// The identity before the first parameter; empty for nobody's.
fn issuer(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let identity = text.split(';').next().unwrap_or_default();
    identity.trim().to_ascii_lowercase()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// None when the name only lacks records of the type that was asked for.
fn refusal(error: NetError) -> Option<Error> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
            match response_code {
                ResponseCode::NoError => None,
                ResponseCode::NXDomain => Some(Error::NoSuchName),
                code => Some(Error::Failed(code.to_string())),
            }
        }
        NetError::Dns(DnsError::ResponseCode(code)) => Some(Error::Failed(code.to_string())),
        NetError::Timeout => Some(Error::Silent),
        other => Some(Error::Other(other.to_string())),
    }
}
