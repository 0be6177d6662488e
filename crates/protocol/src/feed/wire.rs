//! Reading a [`Frame`]: serde buffers the content of a tagged enum, which loses an item's raw bytes,
//! so the fields of all frames are read flat and then sorted by kind.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

use domain::generation::{Epoch, Generation};

use super::{Commit, DropCause, FeedName, Frame, SecretFrame};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Begin,
    Put,
    Delete,
    Secret,
    Commit,
    Idle,
}

#[derive(Deserialize)]
struct Flat {
    frame: Kind,
    epoch: Option<Epoch>,
    generation: Option<Generation>,
    full: Option<bool>,
    id: Option<String>,
    item: Option<Box<RawValue>>,
    cause: Option<DropCause>,
    key: Option<String>,
    version: Option<i64>,
    value: Option<String>,
    feed: Option<FeedName>,
    digest: Option<String>,
    count: Option<u64>,
    signature: Option<String>,
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let flat = Flat::deserialize(deserializer)?;
        flat.sorted().map_err(D::Error::missing_field)
    }
}

impl Flat {
    /// The frame, or the name of the field it lacks.
    fn sorted(self) -> Result<Frame, &'static str> {
        Ok(match self.frame {
            Kind::Begin => Frame::Begin {
                epoch: self.epoch.ok_or("epoch")?,
                generation: self.generation.ok_or("generation")?,
                full: self.full.ok_or("full")?,
            },
            Kind::Put => Frame::Put {
                id: self.id.ok_or("id")?,
                item: self.item.ok_or("item")?,
            },
            Kind::Delete => Frame::Delete {
                id: self.id.ok_or("id")?,
                cause: self.cause,
            },
            Kind::Secret => Frame::Secret(SecretFrame {
                key: self.key.ok_or("key")?,
                version: self.version.ok_or("version")?,
                value: self.value.ok_or("value")?,
            }),
            Kind::Commit => Frame::Commit(Commit {
                feed: self.feed.ok_or("feed")?,
                epoch: self.epoch.ok_or("epoch")?,
                generation: self.generation.ok_or("generation")?,
                digest: self.digest.ok_or("digest")?,
                count: self.count.ok_or("count")?,
                signature: self.signature.ok_or("signature")?,
            }),
            Kind::Idle => Frame::Idle {},
        })
    }
}
