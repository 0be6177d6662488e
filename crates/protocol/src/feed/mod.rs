//! Feeds: documents of rendered items that a node follows (docs/PROTOCOL.md).
//!
//! `GET /node/v1/desired?feed=<name>&epoch=E&after=G` answers NDJSON [`Frame`]s. A reader applies
//! nothing before `commit`, and commits only what passed limits, digest and signature.

pub mod digest;
pub mod lines;
pub mod reader;
pub mod signature;
mod wire;
pub mod writer;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use domain::{
    generation::{Epoch, Generation, Position},
    id::NodeId,
    name::Name,
    ring::Ring,
};

/// The name of a feed, as in `?feed=` and in the control plane's tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FeedName {
    /// `node/<id>`: what one agent runs. Items are [`crate::item::NodeItem`].
    Node(NodeId),
    /// `routes/global`: hostnames, certificates, peer edges. Items are [`crate::item::GlobalRouteItem`].
    GlobalRoutes(Ring),
    /// `routes/region/<region>`: services' endpoints. Items are [`crate::item::RegionRouteItem`].
    RegionRoutes(Name, Ring),
}

impl FeedName {
    /// Whose document it is; only routes have rings.
    #[must_use]
    pub const fn ring(&self) -> Option<Ring> {
        match self {
            Self::Node(_) => None,
            Self::GlobalRoutes(ring) | Self::RegionRoutes(_, ring) => Some(*ring),
        }
    }

    /// The same kind of document for another ring.
    #[must_use]
    pub fn with_ring(&self, ring: Ring) -> Self {
        match self {
            Self::Node(id) => Self::Node(*id),
            Self::GlobalRoutes(_) => Self::GlobalRoutes(ring),
            Self::RegionRoutes(region, _) => Self::RegionRoutes(region.clone(), ring),
        }
    }

    /// What kind of document it is, whatever the ring: what nodes name folders and metrics by.
    #[must_use]
    pub fn tier(&self) -> Self {
        self.with_ring(Ring::All)
    }
}

impl std::fmt::Display for FeedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(id) => write!(f, "node/{id}")?,
            Self::GlobalRoutes(_) => f.write_str("routes/global")?,
            Self::RegionRoutes(region, _) => write!(f, "routes/region/{region}")?,
        }
        // Without a ring: as nodes of the version before rings know it.
        match self.ring() {
            None | Some(Ring::All) => Ok(()),
            Some(ring) => write!(f, "@{ring}"),
        }
    }
}

/// A text that names no feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no feed: expected node/<id>, routes/global[@<ring>] or routes/region/<region>[@<ring>]"
)]
pub struct UnknownFeed(String);

impl std::str::FromStr for FeedName {
    type Err = UnknownFeed;

    fn from_str(text: &str) -> Result<Self, UnknownFeed> {
        let unknown = || UnknownFeed(text.chars().take(100).collect());
        let (tier, ring) = match text.split_once('@') {
            Some((tier, ring)) => (tier, ring.parse().map_err(|_| unknown())?),
            None => (text, Ring::All),
        };
        match tier.split_once('/') {
            Some(("node", id)) if tier == text => id.parse().map(Self::Node).map_err(|_| unknown()),
            Some(("routes", "global")) => Ok(Self::GlobalRoutes(ring)),
            Some(("routes", rest)) => {
                let region = rest.strip_prefix("region/").ok_or_else(unknown)?;
                let region = region.parse().map_err(|_| unknown())?;
                Ok(Self::RegionRoutes(region, ring))
            }
            _ => Err(unknown()),
        }
    }
}

impl Serialize for FeedName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FeedName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// One line of a feed. Read through [`wire`], because serde can't keep raw bytes inside a tagged enum.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum Frame {
    /// A change set begins, from the position asked for (or from nothing when `full`) to this one.
    Begin {
        /// The new epoch.
        epoch: Epoch,
        /// The new generation.
        generation: Generation,
        /// The items are the whole document, not a difference.
        full: bool,
    },
    /// An item is added or replaced. `item` is the rendered bytes, never re-rendered.
    Put {
        /// Unique in the feed, e.g. `instance/ins_…`.
        id: String,
        /// Canonical JSON.
        item: Box<RawValue>,
    },
    /// An item is removed. A full document also lists what it drops (the brake needs each cause).
    Delete {
        /// The item's id.
        id: String,
        /// Why; absent when the control plane has no tombstone for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<DropCause>,
    },
    /// A secret value that items refer to. Outside the digest.
    Secret(SecretFrame),
    /// The change set is whole: apply it if count, digest and signature agree.
    Commit(Commit),
    /// Nothing new; sent every 10 s so that silence means a broken line.
    Idle {},
}

/// Why an item left a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropCause {
    /// A newer deployment replaced it.
    Deployment,
    /// A person deleted or scaled what it belonged to.
    Deletion,
    /// Its node is being emptied.
    Drain,
    /// The planner stopped a surplus or moved it.
    Plan,
    /// It has ended (a build, a one-shot command).
    Finished,
}

/// A secret's value, sent over the node's mTLS connection only and kept on disk only encrypted.
#[derive(Clone, Serialize, Deserialize)]
pub struct SecretFrame {
    /// What items call it, e.g. `variable/var_…` or `certificate/crt_…`.
    pub key: String,
    /// Rises with each change of the value.
    pub version: i64,
    /// The value.
    pub value: String,
}

impl SecretFrame {
    /// How items name it.
    #[must_use]
    pub fn reference(&self) -> SecretRef {
        SecretRef {
            key: self.key.clone(),
            version: self.version,
        }
    }
}

impl std::fmt::Debug for SecretFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretFrame")
            .field("key", &self.key)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// How an item names a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretRef {
    /// [`SecretFrame::key`].
    pub key: String,
    /// [`SecretFrame::version`].
    pub version: i64,
}

/// The end of a change set, signed by the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The feed, so that one feed's commit is no good for another.
    pub feed: FeedName,
    /// The position reached.
    pub epoch: Epoch,
    /// The position reached.
    pub generation: Generation,
    /// SHA-256 of the whole document, hexadecimal (see [`digest`]).
    pub digest: String,
    /// How many items the whole document has.
    pub count: u64,
    /// Ed25519 over [`Commit::signed_bytes`], base64.
    pub signature: String,
}

impl Commit {
    /// The position reached.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            generation: self.generation,
        }
    }

    /// What the signature covers: every field but itself, one line each.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        format!(
            "railhead feed commit v1\n{}\n{}\n{}\n{}\n{}\n",
            self.feed, self.epoch.0, self.generation.0, self.digest, self.count
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_named_with_its_ring_and_without_one_as_before_there_were_rings() {
        let region: Name = "eu-west".parse().unwrap();
        for (name, text) in [
            (FeedName::GlobalRoutes(Ring::All), "routes/global"),
            (FeedName::GlobalRoutes(Ring::Canary), "routes/global@canary"),
            (
                FeedName::RegionRoutes(region.clone(), Ring::All),
                "routes/region/eu-west",
            ),
            (
                FeedName::RegionRoutes(region, Ring::Region),
                "routes/region/eu-west@region",
            ),
        ] {
            assert_eq!(name.to_string(), text);
            assert_eq!(text.parse::<FeedName>().unwrap(), name);
        }
        let node = FeedName::Node(NodeId::new());
        assert_eq!(node.to_string().parse::<FeedName>().unwrap(), node);
        for text in [
            format!("{node}@canary"),
            "routes/global@".into(),
            "routes/global@some".into(),
            "routes/region/@all".into(),
        ] {
            assert!(text.parse::<FeedName>().is_err(), "{text}");
        }
    }
}
