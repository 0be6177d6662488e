//! A zone on a name server that takes dynamic updates (RFC 2136): BIND, Knot DNS, PowerDNS and others. It is
//! read by a zone transfer (RFC 5936); both are signed with one key (TSIG, RFC 8945).

mod exchange;
mod message;

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hickory_proto::{
    op::Message,
    rr::{Name, RData, Record, TSigner, rdata::tsig::TsigAlgorithm},
};
use zeroize::Zeroizing;

use crate::config::dns::{Algorithm, Rfc2136 as Config};

use super::{
    owner::Owner,
    plan::Change,
    provider::{Error, Provider},
    record::RecordSet,
};

use exchange::{Exchange, Next};

/// The server's clock and ours may differ by so many seconds (RFC 8945 recommends it).
const FUDGE: u16 = 300;
/// A key shorter than that is no secret.
const KEY_BYTES: usize = 16;
/// Records of a zone that are read; what is larger belongs into two zones.
const RECORDS: usize = 200_000;

/// A name server and the zone that it is the primary of.
pub(super) struct Rfc2136 {
    exchange: Exchange,
    zone: Name,
    domain: Name,
    owner: Owner,
}

impl Rfc2136 {
    /// Reads the key; the server is not asked anything yet.
    ///
    /// # Errors
    /// When the key is none.
    pub(super) fn new(
        config: &Config,
        zone: &str,
        domain: &str,
        owner: &Owner,
    ) -> anyhow::Result<Self> {
        let signer = signer(config)
            .with_context(|| format!("the TSIG key in {}", config.key_file.display()))?;
        Ok(Self {
            exchange: Exchange::new(config.server, signer),
            zone: name(zone).context("dns.provider.zone")?,
            domain: name(domain).context("platform_domain")?,
            owner: *owner,
        })
    }

    fn server(&self) -> SocketAddr {
        self.exchange.server()
    }

    async fn update(&self, message: Message) -> Result<(), Error> {
        let done = |_: &Message| Ok(Next::Done);
        self.exchange.ask(message, "change the zone", done).await
    }

    fn unfit(&self, reason: String) -> Error {
        let (zone, server) = (&self.zone, self.server());
        Error::Limit(format!("{reason} can't be put into {zone} at {server}"))
    }
}

#[async_trait]
impl Provider for Rfc2136 {
    async fn list(&self) -> Result<Vec<RecordSet>, Error> {
        let mut transfer = Transfer::new(self);
        let message = message::transfer(&self.zone);
        self.exchange
            .ask(message, "give the zone away (AXFR)", |answer| {
                transfer.take(answer)
            })
            .await?;
        Ok(message::record_sets(&transfer.records))
    }

    async fn change(&self, changes: &[Change]) -> Result<(), Error> {
        let message = message::update(&self.zone, changes, &self.owner);
        self.update(message.map_err(|reason| self.unfit(reason))?)
            .await
    }

    async fn put_text(&self, name: &str, value: &str) -> Result<(), Error> {
        let message = message::put_text(&self.zone, name, value);
        self.update(message.map_err(|reason| self.unfit(reason))?)
            .await
    }

    async fn remove_text(&self, name: &str, value: &str) -> Result<(), Error> {
        let message = message::remove_text(&self.zone, name, value);
        self.update(message.map_err(|reason| self.unfit(reason))?)
            .await
    }
}

/// A zone on its way: from its SOA record to the same again.
struct Transfer<'a> {
    server: SocketAddr,
    zone: &'a Name,
    domain: &'a Name,
    /// At and below the domain.
    records: Vec<Record>,
    read: usize,
    soas: usize,
}

impl<'a> Transfer<'a> {
    fn new(of: &'a Rfc2136) -> Self {
        Self {
            server: of.server(),
            zone: &of.zone,
            domain: &of.domain,
            records: Vec::new(),
            read: 0,
            soas: 0,
        }
    }

    fn take(&mut self, answer: &Message) -> Result<Next, Error> {
        for record in &answer.answers {
            let is_soa = matches!(record.data, RData::SOA(_));
            self.soas += usize::from(is_soa);
            if self.soas == 0 {
                return Err(self.refused("it does not begin with an SOA record"));
            }
            self.read += 1;
            if !is_soa && self.domain.zone_of(&record.name) && message::kind(record).is_some() {
                self.records.push(record.clone());
            }
        }
        if answer.answers.is_empty() {
            return Err(self.refused("a message of it is empty"));
        }
        if self.read > RECORDS {
            let (zone, domain) = (self.zone, self.domain);
            return Err(Error::Limit(format!(
                "the zone {zone} has more than {RECORDS} records: give {domain} a zone of its own"
            )));
        }
        Ok(match self.soas {
            2.. => Next::Done,
            _ => Next::More,
        })
    }

    fn refused(&self, reason: &str) -> Error {
        Error::Refused {
            provider: format!("the name server {}", self.server),
            action: "give the zone away (AXFR)",
            reason: reason.to_owned(),
        }
    }
}

/// With a dot at its end.
fn name(text: &str) -> anyhow::Result<Name> {
    Ok(Name::from_ascii(format!("{text}."))?)
}

fn signer(config: &Config) -> anyhow::Result<TSigner> {
    let text = Zeroizing::new(std::fs::read_to_string(&config.key_file)?);
    let key = BASE64_STANDARD
        .decode(text.trim())
        .context("is not Base64; only the secret itself belongs there")?;
    if key.len() < KEY_BYTES {
        bail!("has fewer than {KEY_BYTES} bytes");
    }
    let algorithm = match config.key_algorithm {
        Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
        Algorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
        Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
    };
    let key_name = config.key_name.trim_end_matches('.');
    let key_name = name(key_name).context("dns.provider.rfc2136.key_name")?;
    Ok(TSigner::new(key, algorithm, key_name, FUDGE)?)
}
