//! Commits are signed (Ed25519), so that a node applies nothing that did not come from its control
//! plane, whatever stands in between and whatever lies on its disk.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use domain::generation::Position;

use super::{Commit, FeedName};

/// Why a commit can't be signed or is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key pair is no PKCS#8 Ed25519 key.
    #[error("the feed signing key is no Ed25519 key in PKCS#8")]
    PrivateKey,
    /// A public key is no base64 of 32 bytes.
    #[error("\"{0}\" is no base64 of an Ed25519 public key")]
    PublicKey(String),
    /// No known key made the signature.
    #[error("the commit {position} of {feed} is signed by none of the {keys} known feed keys")]
    Forged {
        /// The feed.
        feed: FeedName,
        /// The position it claims.
        position: Position,
        /// How many keys were tried.
        keys: usize,
    },
}

/// The control plane's signing key.
#[derive(Debug)]
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Reads a key as made by [`Self::generate_pkcs8`].
    ///
    /// # Errors
    /// [`Error::PrivateKey`].
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, Error> {
        Ed25519KeyPair::from_pkcs8(pkcs8)
            .map(Self)
            .map_err(|_| Error::PrivateKey)
    }

    /// Makes a new key (PKCS#8, DER).
    ///
    /// # Errors
    /// [`Error::PrivateKey`] when the system has no randomness.
    pub fn generate_pkcs8() -> Result<Vec<u8>, Error> {
        let pair = Ed25519KeyPair::generate().map_err(|_| Error::PrivateKey)?;
        let document = pair.to_pkcs8v1().map_err(|_| Error::PrivateKey)?;
        Ok(document.as_ref().to_vec())
    }

    /// As in [`crate::join::Identity::feed_keys`].
    #[must_use]
    pub fn public_key(&self) -> String {
        STANDARD.encode(self.0.public_key())
    }

    /// The signed end of a change set that leads to this document.
    #[must_use]
    pub fn commit(&self, feed: FeedName, position: Position, digest: String, count: u64) -> Commit {
        let mut commit = Commit {
            feed,
            epoch: position.epoch,
            generation: position.generation,
            digest,
            count,
            signature: String::new(),
        };
        commit.signature = STANDARD.encode(self.0.sign(&commit.signed_bytes()));
        commit
    }
}

/// The public keys that may have signed a commit; more than one while a key is replaced.
#[derive(Debug, Clone, Default)]
pub struct FeedKeys(Vec<Vec<u8>>);

impl FeedKeys {
    /// Reads [`crate::join::Identity::feed_keys`].
    ///
    /// # Errors
    /// [`Error::PublicKey`].
    pub fn from_base64<S: AsRef<str>>(keys: &[S]) -> Result<Self, Error> {
        let decode = |key: &S| {
            let key = key.as_ref();
            STANDARD
                .decode(key)
                .ok()
                .filter(|bytes| bytes.len() == 32)
                .ok_or_else(|| Error::PublicKey(key.chars().take(100).collect()))
        };
        keys.iter().map(decode).collect::<Result<_, _>>().map(Self)
    }

    /// Checks a commit's signature.
    ///
    /// # Errors
    /// [`Error::Forged`].
    pub fn verify(&self, commit: &Commit) -> Result<(), Error> {
        let message = commit.signed_bytes();
        let signature = STANDARD.decode(&commit.signature).unwrap_or_default();
        let made_by = |key: &Vec<u8>| {
            UnparsedPublicKey::new(&ED25519, key)
                .verify(&message, &signature)
                .is_ok()
        };
        if self.0.iter().any(made_by) {
            return Ok(());
        }
        Err(Error::Forged {
            feed: commit.feed.clone(),
            position: commit.position(),
            keys: self.0.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ring::Ring;

    fn signer() -> Signer {
        Signer::from_pkcs8(&Signer::generate_pkcs8().unwrap()).unwrap()
    }

    #[test]
    fn a_commit_is_good_for_its_key_and_its_fields_only() {
        let signer = signer();
        let keys =
            FeedKeys::from_base64(&[self::signer().public_key(), signer.public_key()]).unwrap();
        let commit = signer.commit(
            FeedName::GlobalRoutes(Ring::All),
            Position::default(),
            "ab".into(),
            3,
        );
        keys.verify(&commit).unwrap();

        let mut other = commit.clone();
        other.count = 4;
        assert!(matches!(keys.verify(&other), Err(Error::Forged { .. })));
        let mut other = commit.clone();
        other.feed = FeedName::RegionRoutes("eu".parse().unwrap(), Ring::All);
        assert!(matches!(keys.verify(&other), Err(Error::Forged { .. })));
        let stranger = FeedKeys::from_base64(&[self::signer().public_key()]).unwrap();
        assert!(matches!(
            stranger.verify(&commit),
            Err(Error::Forged { .. })
        ));
        let nobody = FeedKeys::default();
        assert!(matches!(nobody.verify(&commit), Err(Error::Forged { .. })));
    }

    #[test]
    fn rubbish_is_no_key() {
        assert!(FeedKeys::from_base64(&["x"]).is_err());
        assert!(FeedKeys::from_base64(&["AAAA"]).is_err());
        assert!(matches!(Signer::from_pkcs8(b"x"), Err(Error::PrivateKey)));
    }
}
