//! Secrets travel by reference: an item names a key and a version, and the value is looked up and
//! opened when it is sent. [`SecretKey`] is the only place that knows how a key is written.

use std::{fmt, str::FromStr};

use domain::id::{BuildId, CertificateId, DeployKeyId, ReleaseId};
use protocol::feed::{SecretFrame, SecretRef};

use crate::{
    secrets::{Error as SecretsError, Sealer},
    store::{self, secret, tx::SystemTx},
};

/// What keeps a secret from being sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

/// Where a secret's value is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretKey {
    /// A variable as it was when the release was made: `release/rel_…/NAME`.
    Release(ReleaseId, String),
    /// A variable for a build's mount: `build/bld_…/NAME`.
    Build(BuildId, String),
    /// `deploy-key/dky_…`
    DeployKey(DeployKeyId),
    /// `certificate/crt_…`
    Certificate(CertificateId),
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(id, name) => write!(f, "release/{id}/{name}"),
            Self::Build(id, name) => write!(f, "build/{id}/{name}"),
            Self::DeployKey(id) => write!(f, "deploy-key/{id}"),
            Self::Certificate(id) => write!(f, "certificate/{id}"),
        }
    }
}

impl FromStr for SecretKey {
    type Err = store::Error;

    fn from_str(text: &str) -> Result<Self, store::Error> {
        let corrupt = || store::Error::corrupt("secret reference", text);
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            ["release", id, name] => Ok(Self::Release(
                id.parse().map_err(|_| corrupt())?,
                (*name).to_owned(),
            )),
            ["build", id, name] => Ok(Self::Build(
                id.parse().map_err(|_| corrupt())?,
                (*name).to_owned(),
            )),
            ["deploy-key", id] => Ok(Self::DeployKey(id.parse().map_err(|_| corrupt())?)),
            ["certificate", id] => Ok(Self::Certificate(id.parse().map_err(|_| corrupt())?)),
            _ => Err(corrupt()),
        }
    }
}

impl SecretKey {
    /// The reference to one version of it.
    pub fn at(&self, version: i64) -> SecretRef {
        SecretRef {
            key: self.to_string(),
            version,
        }
    }
}

/// The values of what items refer to. What has been deleted meanwhile is left out: the item that
/// needed it has gone too, in a newer generation. So is what does not open.
pub async fn resolve(
    tx: &mut SystemTx,
    sealer: &Sealer,
    references: &[SecretRef],
) -> Result<Vec<SecretFrame>, Error> {
    let mut frames = Vec::with_capacity(references.len());
    let keys = references
        .iter()
        .map(|reference| Ok((reference, reference.key.parse()?)))
        .collect::<Result<Vec<(&SecretRef, SecretKey)>, store::Error>>()?;
    let all: Vec<&SecretKey> = keys.iter().map(|(_, key)| key).collect();
    let mut stored = secret::find(tx, &all).await?;
    for (reference, key) in &keys {
        let Some((label, sealed)) = stored.remove(key) else {
            tracing::warn!(key = reference.key, "a secret of a feed has been deleted");
            continue;
        };
        // A newer one comes with a newer item: it is no pair with this one's chain.
        if matches!(key, SecretKey::Certificate(_)) && label.version != reference.version {
            continue;
        }
        let value = match sealer.open_text(&label, &sealed).await {
            // Whoever needs it can't start, and says so; all others have what they need.
            Err(error @ SecretsError::Open(_)) => {
                tracing::error!(key = reference.key, %error, "a secret of a feed is left out");
                continue;
            }
            opened => opened?,
        };
        frames.push(SecretFrame {
            key: reference.key.clone(),
            version: reference.version,
            value: value.to_string(),
        });
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let keys = [
            SecretKey::Release(ReleaseId::new(), "A".into()),
            SecretKey::Build(BuildId::new(), "A".into()),
            SecretKey::DeployKey(DeployKeyId::new()),
            SecretKey::Certificate(CertificateId::new()),
        ];
        for key in keys {
            assert_eq!(key.to_string().parse::<SecretKey>().unwrap(), key);
        }
        assert!("release/x/y".parse::<SecretKey>().is_err());
    }
}
