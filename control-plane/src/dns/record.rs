//! What a zone says of a name: sets of records, in the terms that all providers share.

use std::{collections::BTreeSet, fmt, net::IpAddr};

/// The kinds of records that matter here. A CNAME is never ours: it stands in the way of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// An alias.
    Cname,
    /// Text.
    Txt,
}

impl Kind {
    /// The kind of record that an address stands in.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::A,
            IpAddr::V6(_) => Self::Aaaa,
        }
    }

    /// As in zone files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
        }
    }
}

/// Where a user is, as Route 53 tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Nowhere that another set is for.
    Default,
    /// A continent's code, such as `EU`.
    Continent(String),
    /// A country's code (ISO 3166-1 alpha-2), such as `DE`.
    Country(String),
    /// Nearest to this AWS region by latency.
    AwsRegion(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Continent(code) => write!(f, "continent {code}"),
            Self::Country(code) => write!(f, "country {code}"),
            Self::AwsRegion(name) => write!(f, "AWS region {name}"),
        }
    }
}

/// A check that the provider makes by itself: while it fails, the set is not answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// One of the host's addresses takes connections.
    Tcp {
        /// A name; the provider looks its IPv4 addresses up.
        host: String,
        /// The port.
        port: u16,
    },
    /// One that is not ours, by its id.
    Unknown(String),
}

/// To whom a set is answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Routing {
    /// To everybody: it is the only one of its name and kind.
    Simple,
    /// To users of one place.
    By {
        /// Tells it from the others of its name and kind.
        id: String,
        /// Of which place.
        place: Place,
        /// While it fails, the set is not answered.
        check: Option<Check>,
    },
    /// In a way that is never ours: by weight, as a provider's alias.
    Foreign {
        /// Tells it from the others of its name and kind.
        id: Option<String>,
    },
}

/// What tells a set from every other one of a zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Lower case, without a dot at its end, perhaps with `*.` in front.
    pub name: String,
    /// Which kind of records.
    pub kind: Kind,
    /// Of several of its name and kind.
    pub id: Option<String>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)?;
        match &self.id {
            Some(id) => write!(f, " ({id})"),
            None => Ok(()),
        }
    }
}

/// The records of one name and kind, for one audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSet {
    /// Lower case, without a dot at its end, perhaps with `*.` in front.
    pub name: String,
    /// Which kind of records.
    pub kind: Kind,
    /// To whom it is answered.
    pub routing: Routing,
    /// Seconds.
    pub ttl: u32,
    /// Addresses as text, or what a TXT record says, its pieces joined.
    pub values: BTreeSet<String>,
}

impl RecordSet {
    /// What tells it from every other one.
    #[must_use]
    pub fn key(&self) -> Key {
        let id = match &self.routing {
            Routing::Simple => None,
            Routing::By { id, .. } => Some(id.clone()),
            Routing::Foreign { id } => id.clone(),
        };
        Key {
            name: self.name.clone(),
            kind: self.kind,
            id,
        }
    }

    /// The check that it is answered under, if there is one.
    #[must_use]
    pub fn check(&self) -> Option<&Check> {
        match &self.routing {
            Routing::By { check, .. } => check.as_ref(),
            Routing::Simple | Routing::Foreign { .. } => None,
        }
    }
}
