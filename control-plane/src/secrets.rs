//! Secrets at rest: envelope encryption with AES-256-GCM-SIV. Each value has a data key of its own,
//! wrapped by a key-encryption key that is not in the database; the associated data names what the
//! value is, so that a ciphertext copied to another row does not open.

use std::{path::Path, sync::Arc};

use aes_gcm_siv::{
    Aes256GcmSiv, Nonce,
    aead::{Aead, Generate, Key, KeyInit, Payload},
};
use async_trait::async_trait;
use domain::id::{CertificateId, DomainId, OrganizationId, ProjectId};
use zeroize::Zeroizing;

const NONCE_LENGTH: usize = 12;
const KEY_LENGTH: usize = 32;

/// What keeps a secret from being sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the key-encryption key from {path} failed: {source}")]
    KeyFile {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "{0} must hold 32 bytes as 64 hexadecimal digits; make one with `openssl rand -hex 32`"
    )]
    KeyShape(String),
    #[error("{0} can't be sealed")]
    Seal(String),
    #[error(
        "{0} does not open: it was sealed under another key-encryption key, or its row was changed by hand"
    )]
    Open(String),
}

/// What a value is; part of the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Absent for the platform's own.
    pub organization: Option<OrganizationId>,
    /// The id of what it belongs to: `env_…`, `svc_…`, `rel_…`, `platform`.
    pub scope: String,
    /// The variable's or key's name.
    pub name: String,
    /// Rises with each change.
    pub version: i64,
}

impl Label {
    /// A variable; `scope` is the id of its service or environment.
    pub fn variable(
        organization: OrganizationId,
        scope: impl ToString,
        name: impl ToString,
        version: i64,
    ) -> Self {
        Self {
            organization: Some(organization),
            scope: scope.to_string(),
            name: name.to_string(),
            version,
        }
    }

    /// A deploy key of a project; it never changes.
    pub fn deploy_key(
        organization: OrganizationId,
        project: ProjectId,
        name: impl ToString,
    ) -> Self {
        Self::variable(organization, project, name, 1)
    }

    /// The key of a certificate.
    pub fn certificate(id: CertificateId, version: i64) -> Self {
        Self {
            organization: None,
            scope: id.to_string(),
            name: "key".to_owned(),
            version,
        }
    }

    /// The key of a certificate that is on order for a hostname.
    pub fn certificate_order(organization: OrganizationId, domain: DomainId) -> Self {
        Self::variable(organization, domain, "certificate order", 1)
    }

    /// The platform's account at a certificate authority, by the URL of its directory.
    pub fn acme_account(directory: &str) -> Self {
        Self {
            organization: None,
            scope: "acme".to_owned(),
            name: directory.to_owned(),
            version: 1,
        }
    }

    fn associated_data(&self) -> Vec<u8> {
        let organization = self.organization.map(|id| id.to_string());
        let mut data = Vec::new();
        for part in [
            organization.as_deref().unwrap_or_default(),
            &self.scope,
            &self.name,
        ] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        data.extend_from_slice(&self.version.to_be_bytes());
        data
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the secret {} of {} (version {})",
            self.name, self.scope, self.version
        )
    }
}

/// A sealed value, as its two columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub ciphertext: Vec<u8>,
    /// The data key under the key-encryption key.
    pub wrapped_key: Vec<u8>,
}

/// Wraps data keys; the only thing that knows the key-encryption key.
#[async_trait]
pub trait KeyEncryption: Send + Sync {
    async fn wrap(&self, key: &[u8], label: &Label) -> Result<Vec<u8>, Error>;
    async fn unwrap(&self, wrapped: &[u8], label: &Label) -> Result<Zeroizing<Vec<u8>>, Error>;
}

/// A key-encryption key from a file of this machine.
pub struct LocalKey(Aes256GcmSiv);

impl LocalKey {
    /// Reads 64 hexadecimal digits.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| Error::KeyFile {
            path: shown.clone(),
            source,
        })?;
        let text = Zeroizing::new(text);
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        hex::decode_to_slice(text.trim(), key.as_mut()).map_err(|_| Error::KeyShape(shown))?;
        Ok(Self(cipher(key.as_ref())))
    }
}

#[async_trait]
impl KeyEncryption for LocalKey {
    async fn wrap(&self, key: &[u8], label: &Label) -> Result<Vec<u8>, Error> {
        encrypt(&self.0, key, label)
    }

    async fn unwrap(&self, wrapped: &[u8], label: &Label) -> Result<Zeroizing<Vec<u8>>, Error> {
        decrypt(&self.0, wrapped, label)
    }
}

/// Seals and opens values.
#[derive(Clone)]
pub struct Sealer(Arc<dyn KeyEncryption>);

impl Sealer {
    pub fn new(keys: impl KeyEncryption + 'static) -> Self {
        Self(Arc::new(keys))
    }

    pub async fn seal(&self, label: &Label, value: &[u8]) -> Result<Sealed, Error> {
        let key = Zeroizing::new(<[u8; KEY_LENGTH]>::from(Key::<Aes256GcmSiv>::generate()));
        Ok(Sealed {
            ciphertext: encrypt(&cipher(key.as_ref()), value, label)?,
            wrapped_key: self.0.wrap(key.as_ref(), label).await?,
        })
    }

    pub async fn open(&self, label: &Label, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Error> {
        let key = self.0.unwrap(&sealed.wrapped_key, label).await?;
        if key.len() != KEY_LENGTH {
            return Err(Error::Open(label.to_string()));
        }
        decrypt(&cipher(&key), &sealed.ciphertext, label)
    }

    /// As [`Self::open`], for values that are text.
    pub async fn open_text(
        &self,
        label: &Label,
        sealed: &Sealed,
    ) -> Result<Zeroizing<String>, Error> {
        let bytes = self.open(label, sealed).await?;
        String::from_utf8(bytes.to_vec())
            .map(Zeroizing::new)
            .map_err(|_| Error::Open(label.to_string()))
    }
}

/// `key` has [`KEY_LENGTH`] bytes: every caller has checked it.
fn cipher(key: &[u8]) -> Aes256GcmSiv {
    let mut exact = Zeroizing::new([0; KEY_LENGTH]);
    exact.copy_from_slice(key);
    Aes256GcmSiv::new(&Key::<Aes256GcmSiv>::from(*exact))
}

fn encrypt(cipher: &Aes256GcmSiv, value: &[u8], label: &Label) -> Result<Vec<u8>, Error> {
    let nonce = Nonce::generate();
    let payload = Payload {
        msg: value,
        aad: &label.associated_data(),
    };
    let ciphertext = cipher
        .encrypt(&nonce, payload)
        .map_err(|_| Error::Seal(label.to_string()))?;
    Ok([nonce.as_slice(), &ciphertext].concat())
}

fn decrypt(
    cipher: &Aes256GcmSiv,
    sealed: &[u8],
    label: &Label,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let refused = || Error::Open(label.to_string());
    let (nonce, ciphertext) = sealed
        .split_first_chunk::<NONCE_LENGTH>()
        .ok_or_else(refused)?;
    let payload = Payload {
        msg: ciphertext,
        aad: &label.associated_data(),
    };
    cipher
        .decrypt(&Nonce::from(*nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str, version: i64) -> Label {
        Label {
            organization: None,
            scope: "svc_1".into(),
            name: name.into(),
            version,
        }
    }

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(LocalKey(cipher(&[byte; KEY_LENGTH])))
    }

    #[tokio::test]
    async fn a_value_opens_under_its_own_label_and_key_only() {
        let sealed = sealer(1).seal(&label("A", 1), b"secret").await.unwrap();
        assert_eq!(
            sealer(1)
                .open(&label("A", 1), &sealed)
                .await
                .unwrap()
                .as_slice(),
            b"secret"
        );
        assert!(sealer(1).open(&label("B", 1), &sealed).await.is_err());
        assert!(sealer(1).open(&label("A", 2), &sealed).await.is_err());
        assert!(sealer(2).open(&label("A", 1), &sealed).await.is_err());
        let mut moved = label("A", 1);
        moved.organization = Some(OrganizationId::new());
        assert!(sealer(1).open(&moved, &sealed).await.is_err());
    }

    #[tokio::test]
    async fn the_same_value_sealed_twice_looks_different() {
        let first = sealer(1).seal(&label("A", 1), b"x").await.unwrap();
        let second = sealer(1).seal(&label("A", 1), b"x").await.unwrap();
        assert_ne!(first.ciphertext, second.ciphertext);
        assert_ne!(first.wrapped_key, second.wrapped_key);
    }

    #[test]
    fn parts_of_a_label_can_not_be_shifted_into_each_other() {
        let one = Label {
            scope: "ab".into(),
            ..label("c", 1)
        };
        let other = Label {
            scope: "a".into(),
            ..label("bc", 1)
        };
        assert_ne!(one.associated_data(), other.associated_data());
    }

    #[test]
    fn a_key_file_that_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kek");
        assert!(matches!(LocalKey::read(&path), Err(Error::KeyFile { .. })));
        std::fs::write(&path, "zz").unwrap();
        assert!(matches!(LocalKey::read(&path), Err(Error::KeyShape(_))));
        std::fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
        assert!(LocalKey::read(&path).is_ok());
    }
}
