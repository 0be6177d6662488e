//! Secrets at rest: one file each, sealed by the node key and bound to its name and version, so that
//! one can be erased without touching another.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use protocol::feed::{SecretFrame, SecretRef};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Error;
use crate::{
    disk,
    node_key::{self, NodeKey},
};

/// The folder of a feed's secrets.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    node_key: NodeKey,
}

impl Folder {
    pub fn open(dir: &Path, node_key: NodeKey) -> Result<Self, Error> {
        disk::make_dir(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            node_key,
        })
    }

    /// Neither a key's text nor its length is told by the file's name.
    fn file_name(secret: &SecretRef) -> String {
        hex::encode(Sha256::digest(purpose(secret)))
    }

    pub fn put(&self, secret: &SecretFrame) -> Result<(), Error> {
        let reference = secret.reference();
        let sealed = self
            .node_key
            .seal(&purpose(&reference), secret.value.as_bytes())?;
        let path = self.dir.join(Self::file_name(&reference));
        Ok(disk::replace(&path, &sealed)?)
    }

    pub fn get(&self, secret: &SecretRef) -> Result<Option<Zeroizing<String>>, Error> {
        let path = self.dir.join(Self::file_name(secret));
        let Some(sealed) = disk::read(&path)? else {
            return Ok(None);
        };
        let what = purpose(secret);
        let opened = self.node_key.open(&what, &sealed)?;
        let text = std::str::from_utf8(&opened).map_err(|_| node_key::Error::Open { what })?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }

    pub fn retain<'a>(&self, wanted: impl Iterator<Item = &'a SecretRef>) -> Result<(), Error> {
        let wanted: BTreeSet<String> = wanted.map(Self::file_name).collect();
        let listing = fs::read_dir(&self.dir).map_err(disk::failed("listed", &self.dir))?;
        for entry in listing {
            let entry = entry.map_err(disk::failed("listed", &self.dir))?;
            let is_wanted = entry
                .file_name()
                .to_str()
                .is_some_and(|name| wanted.contains(name));
            if !is_wanted {
                disk::remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn purpose(secret: &SecretRef) -> String {
    format!("secret {} {}", secret.key, secret.version)
}
