//! The identity on disk: `identity.json` for what is public, `identity.key` sealed by the node key.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::join;
use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::{Credentials, Error, credentials::key_from_pem};
use crate::{disk, node_key::NodeKey};

const KEY_PURPOSE: &str = "identity key";

/// Where the identity lies.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    node_key: NodeKey,
}

impl Store {
    /// In a state folder, which is made if missing.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open(state_dir: &Path, node_key: NodeKey) -> Result<Self, Error> {
        disk::make_dir(state_dir)?;
        Ok(Self {
            dir: state_dir.to_owned(),
            node_key,
        })
    }

    fn identity_path(&self) -> PathBuf {
        self.dir.join("identity.json")
    }

    /// The stored identity, if this node has joined.
    ///
    /// # Errors
    /// When it is there but can't be used.
    pub fn load(&self) -> Result<Option<Credentials>, Error> {
        let Some(identity) = disk::read(&self.identity_path())? else {
            return Ok(None);
        };
        let identity: join::Identity = serde_json::from_slice(&identity)
            .map_err(|error| Error::Unreadable(error.to_string()))?;
        let key = self
            .load_key()?
            .ok_or_else(|| Error::Unreadable("its key is missing".to_owned()))?;
        Credentials::new(identity, Arc::new(key)).map(Some)
    }

    /// The node's private key, made and stored before it is first used: a join whose answer got lost
    /// is asked again with the same key.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn ensure_key(&self) -> Result<KeyPair, Error> {
        if let Some(key) = self.load_key()? {
            return Ok(key);
        }
        let key = KeyPair::generate()?;
        let pem = Zeroizing::new(key.serialize_pem());
        let sealed = self.node_key.seal(KEY_PURPOSE, pem.as_bytes())?;
        disk::replace(&self.dir.join("identity.key"), &sealed)?;
        Ok(key)
    }

    fn load_key(&self) -> Result<Option<KeyPair>, Error> {
        let Some(sealed) = disk::read(&self.dir.join("identity.key"))? else {
            return Ok(None);
        };
        let pem = self.node_key.open(KEY_PURPOSE, &sealed)?;
        key_from_pem(&pem).map(Some)
    }

    /// Stores an identity, on a thread that may wait for the disk. The key is there already.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn save(&self, identity: &join::Identity) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(identity)
            .map_err(|error| Error::Unreadable(error.to_string()))?;
        let path = self.identity_path();
        let written = tokio::task::spawn_blocking(move || disk::replace(&path, &bytes));
        Ok(written.await??)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use domain::id::NodeId;
    use futures::FutureExt as _;
    use testkit::hung_file::HungFile;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_holds_no_thread_of_the_runtime_up() {
        let dir = tempfile::tempdir().unwrap();
        let node_key = NodeKey::ensure(&dir.path().join("node.key")).unwrap();
        let store = Store::open(dir.path(), node_key).unwrap();
        let identity = join::Identity {
            node_id: NodeId::new(),
            region: "eu-west".parse().unwrap(),
            role: join::Role::Edge,
            certificate: String::new(),
            ca: String::new(),
            feed_keys: Vec::new(),
        };

        let hung = HungFile::at(&dir.path().join("identity.json.new"));
        let mut saving = pin!(store.save(&identity));
        assert!(saving.as_mut().now_or_never().is_none());
        let written: join::Identity = serde_json::from_slice(&hung.heal()).unwrap();
        assert_eq!(written, identity);
        saving.await.unwrap_err();

        store.save(&identity).await.unwrap();
        let kept = disk::read(&store.identity_path()).unwrap().unwrap();
        let kept: join::Identity = serde_json::from_slice(&kept).unwrap();
        assert_eq!(kept, identity);
    }
}
