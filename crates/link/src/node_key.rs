//! The node's own key, under which secrets and private keys lie on its disk. It stands in a root-only
//! file outside the data folder and its backups, and never leaves the node.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use aes_gcm_siv::{
    Aes256GcmSiv, Key, KeyInit as _, Nonce,
    aead::{Aead as _, Generate as _, Payload},
};
use zeroize::Zeroizing;

use crate::disk;

const NONCE_BYTES: usize = 12;

/// Why the key can't be used, or what it does not open.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// Others could read it.
    #[error(
        "the node key {} may be read by others (mode {mode:o}): run chmod 600 on it, and replace the node's secrets if others had access",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not 32 bytes.
    #[error(
        "the node key {} is damaged: restore it, or remove it and the state folder and let the node join again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Too large to encrypt.
    #[error("{what} can't be sealed")]
    Seal {
        /// What it was for.
        what: String,
    },
    /// Sealed by another key, for something else, or damaged.
    #[error("{what} was not sealed by this node's key, or is damaged")]
    Open {
        /// What it was for.
        what: String,
    },
}

/// AES-256-GCM-SIV (RFC 8452): a repeated nonce would not give the key away.
#[derive(Clone)]
pub struct NodeKey(Aes256GcmSiv);

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeKey")
    }
}

impl NodeKey {
    /// Where the key stands unless configured: beside the state folder, not in it.
    #[must_use]
    pub fn default_path(state_dir: &Path) -> PathBuf {
        let mut path = state_dir.as_os_str().to_owned();
        path.push(".key");
        PathBuf::from(path)
    }

    /// Reads the key, or makes it where there is none.
    ///
    /// # Errors
    /// [`Error`], also when others may read the file.
    pub fn ensure(path: &Path) -> Result<Self, Error> {
        if let Some(bytes) = disk::read(path)? {
            refuse_exposed(path)?;
            return Self::from_bytes(path, &Zeroizing::new(bytes));
        }
        let key = Zeroizing::new(Key::<Aes256GcmSiv>::generate().to_vec());
        if let Some(parent) = path.parent() {
            disk::make_dir(parent)?;
        }
        disk::replace(path, &key)?;
        Self::from_bytes(path, &key)
    }

    fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        Aes256GcmSiv::new_from_slice(bytes)
            .map(Self)
            .map_err(|_| Error::Damaged {
                path: path.to_owned(),
            })
    }

    /// Encrypts; `what` is bound to the result, so that one secret can't be passed off as another.
    ///
    /// # Errors
    /// [`Error::Seal`].
    pub fn seal(&self, what: &str, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce = Nonce::generate();
        let payload = Payload {
            msg: plaintext,
            aad: what.as_bytes(),
        };
        let sealed = self.0.encrypt(&nonce, payload).map_err(|_| Error::Seal {
            what: what.to_owned(),
        })?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Self::seal`] made for the same `what`.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(&self, what: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let refused = || Error::Open {
            what: what.to_owned(),
        };
        let (nonce, msg) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(refused)?;
        let payload = Payload {
            msg,
            aad: what.as_bytes(),
        };
        self.0
            .decrypt(&Nonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| refused())
    }
}

fn refuse_exposed(path: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(path).map_err(disk::failed("read", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (tempfile::TempDir, PathBuf, NodeKey) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let key = NodeKey::ensure(&path).unwrap();
        (dir, path, key)
    }

    #[test]
    fn what_is_sealed_opens_after_a_restart_and_only_as_itself() {
        let (_dir, path, key) = key();
        let sealed = key.seal("variable/a 1", b"s3cret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"s3cret"));
        let key = NodeKey::ensure(&path).unwrap();
        assert_eq!(**key.open("variable/a 1", &sealed).unwrap(), *b"s3cret");
        assert!(matches!(
            key.open("variable/b 1", &sealed),
            Err(Error::Open { .. })
        ));
        let (_other_dir, _, other) = self::key();
        assert!(other.open("variable/a 1", &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(key.open("variable/a 1", &sealed[..cut]).is_err());
        }
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_cut_is_refused() {
        let (_dir, path, _) = key();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            NodeKey::ensure(&path),
            Err(Error::Exposed { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(matches!(NodeKey::ensure(&path), Err(Error::Damaged { .. })));
    }
}
