//! The keys that all replicas share: the CA's, the one that signs feeds, and the one that signs
//! registry tokens.

use std::sync::Arc;

use super::{Authority, Error};
use crate::{
    secrets::{Label, Sealer},
    store::{
        platform_key::{self, PlatformKey},
        tx::SystemTx,
    },
};
use protocol::feed::signature::Signer;

const CA: &str = "ca";
const FEED: &str = "feed";
const REGISTRY: &str = "registry";

/// Every key of the platform, opened.
pub struct PlatformKeys {
    pub authority: Arc<Authority>,
    /// Signs commits.
    pub signer: Signer,
    /// Signs registry tokens.
    pub registry: RegistryKey,
}

/// Signs registry tokens (ES256); the registry trusts its certificate.
#[derive(Clone)]
pub struct RegistryKey {
    /// The certificate and the CA, PEM.
    pub chain_pem: String,
    /// PKCS#8, PEM.
    pub key_pem: String,
}

/// Makes the keys that are missing. The caller's transaction holds them back until all are there;
/// the advisory lock makes two `migrate` at once make them once.
pub async fn ensure(
    tx: &mut SystemTx,
    sealer: &Sealer,
    platform_domain: &str,
) -> Result<(), Error> {
    platform_key::lock(tx).await?;
    if platform_key::newest(tx, CA).await?.is_none() {
        let (certificate, key) = Authority::generate(platform_domain)?;
        store(tx, sealer, CA, &certificate, key.as_bytes()).await?;
    }
    if platform_key::newest(tx, FEED).await?.is_none() {
        let key = Signer::generate_pkcs8()?;
        let public = Signer::from_pkcs8(&key)?.public_key();
        store(tx, sealer, FEED, &public, &key).await?;
    }
    if platform_key::newest(tx, REGISTRY).await?.is_none() {
        let authority = authority(tx, sealer).await?;
        let issued = authority.issue_server(&["railhead-registry-token".to_owned()])?;
        let key = issued.key_pem.as_bytes();
        store(tx, sealer, REGISTRY, &issued.chain_pem, key).await?;
    }
    Ok(())
}

impl PlatformKeys {
    /// Reads and opens them.
    pub async fn load(tx: &mut SystemTx, sealer: &Sealer) -> Result<Self, Error> {
        let authority = authority(tx, sealer).await?;
        let (_, feed) = open(tx, sealer, FEED).await?;
        let (chain_pem, key) = open(tx, sealer, REGISTRY).await?;
        Ok(Self {
            authority: Arc::new(authority),
            signer: Signer::from_pkcs8(&feed)?,
            registry: RegistryKey {
                chain_pem,
                key_pem: text(REGISTRY, &key)?,
            },
        })
    }
}

async fn authority(tx: &mut SystemTx, sealer: &Sealer) -> Result<Authority, Error> {
    let (certificate, key) = open(tx, sealer, CA).await?;
    Authority::from_pem(&certificate, &text(CA, &key)?)
}

fn text(name: &str, bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Stored(format!("{name} is no PEM text")))
}

async fn store(
    tx: &mut SystemTx,
    sealer: &Sealer,
    name: &str,
    public: &str,
    private: &[u8],
) -> Result<(), Error> {
    let version = 1;
    let sealed = sealer.seal(&label(name, version), private).await?;
    let key = PlatformKey {
        version,
        public: public.to_owned(),
        sealed,
    };
    Ok(platform_key::insert(tx, name, &key).await?)
}

async fn open(tx: &mut SystemTx, sealer: &Sealer, name: &str) -> Result<(String, Vec<u8>), Error> {
    let key = platform_key::newest(tx, name)
        .await?
        .ok_or_else(|| Error::Missing(name.to_owned()))?;
    let private = sealer.open(&label(name, key.version), &key.sealed).await?;
    Ok((key.public, private.to_vec()))
}

fn label(name: &str, version: i32) -> Label {
    Label {
        organization: None,
        scope: "platform".to_owned(),
        name: name.to_owned(),
        version: version.into(),
    }
}
