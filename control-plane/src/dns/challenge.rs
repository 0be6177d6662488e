//! TXT records that prove to somebody else whose a domain is (ACME's DNS-01): put, waited for until every name
//! server of the zone serves them, and removed.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{Resolver, Zone, provider, resolver};

/// Between two questions to one name server.
const PAUSE: Duration = Duration::from_secs(1);
const DNS: u16 = 53;

/// Why a record is not there for all to see.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The provider did not do its part.
    #[error(transparent)]
    Provider(#[from] provider::Error),
    /// Nobody says which servers serve the zone.
    #[error("the name servers of {zone} can't be found: {source}")]
    NameServers {
        /// The zone.
        zone: String,
        /// Why.
        source: resolver::Error,
    },
    /// Not within the time that it was given.
    #[error("{server} did not serve the TXT record of {name} within {patience:?}: {last}")]
    NotServed {
        /// Who does not.
        server: SocketAddr,
        /// The record's name.
        name: String,
        /// How long it was waited for.
        patience: Duration,
        /// What the server said last.
        last: String,
    },
}

impl Zone {
    /// Adds a value to the TXT records of a name. What else is there stays.
    ///
    /// # Errors
    /// When the provider does not do its part.
    pub async fn put_text(&self, name: &str, value: &str) -> Result<(), Error> {
        Ok(self.provider().put_text(name, value).await?)
    }

    /// Takes the value away; nothing happens when it is not there.
    ///
    /// # Errors
    /// When the provider does not do its part.
    pub async fn remove_text(&self, name: &str, value: &str) -> Result<(), Error> {
        Ok(self.provider().remove_text(name, value).await?)
    }

    /// Waits until every name server of the zone serves the value: whoever checks it may ask any of them.
    /// Each server has `patience`.
    ///
    /// # Errors
    /// When one does not in time, or nobody knows them.
    pub async fn text_is_served(
        &self,
        resolver: &Resolver,
        name: &str,
        value: &str,
        patience: Duration,
    ) -> Result<(), Error> {
        for server in self.servers(resolver).await? {
            serves(server, name, value, patience).await?;
        }
        Ok(())
    }

    async fn servers(&self, resolver: &Resolver) -> Result<Vec<SocketAddr>, Error> {
        if !self.name_servers().is_empty() {
            return Ok(self.name_servers().to_vec());
        }
        let zone = self.name();
        let found = resolver.name_servers(zone).await;
        let found = found.and_then(|found| match found.is_empty() {
            true => Err(resolver::Error::NoSuchName),
            false => Ok(found),
        });
        let addresses = found.map_err(|source| Error::NameServers {
            zone: zone.to_owned(),
            source,
        })?;
        let address = |ip: IpAddr| SocketAddr::new(ip, DNS);
        Ok(addresses.into_iter().map(address).collect())
    }
}

async fn serves(
    server: SocketAddr,
    name: &str,
    value: &str,
    patience: Duration,
) -> Result<(), Error> {
    let resolver = Resolver::asking(&[server]);
    let mut last = String::new();
    let asked = async {
        loop {
            match resolver.texts(name).await {
                Ok(texts) if texts.iter().any(|text| text == value) => return,
                Ok(_) => last = "it has no such record".to_owned(),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let in_time = tokio::time::timeout(patience, asked).await.is_ok();
    if in_time {
        return Ok(());
    }
    Err(Error::NotServed {
        server,
        name: name.to_owned(),
        patience,
        last,
    })
}
