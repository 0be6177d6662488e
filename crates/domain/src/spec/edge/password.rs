//! Passwords that the edge asks for, as hashes: `sha256:<salt>:<SHA-256 of salt and password>`, both hexadecimal. The
//! edge checks one for each request, and whoever likes sends it wrong ones: a slow hash would be their weapon. So the
//! hash is fast, and the password has to be long and made by a machine (`railhead edge rules password`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

const SCHEME: &str = "sha256";
/// Bytes of a salt.
const SALT: std::ops::RangeInclusive<usize> = 8..=32;

/// The hash of a password, with its salt.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    salt: Vec<u8>,
    digest: [u8; 32],
}

/// A text that is no hash of a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the hash of a password, which is sha256:<salt of 8 to 32 bytes>:<digest>, both hexadecimal; `railhead edge rules password` makes one"
)]
pub struct InvalidPasswordHash;

impl PasswordHash {
    /// Of a password, with a salt that nothing else has.
    #[must_use]
    pub fn new(password: &str, salt: [u8; 16]) -> Self {
        Self {
            salt: salt.to_vec(),
            digest: digest(&salt, password),
        }
    }

    /// Whether it is this password's. Takes as long whatever is wrong about it.
    #[must_use]
    pub fn fits(&self, password: &str) -> bool {
        let given = digest(&self.salt, password);
        let differences = self.digest.iter().zip(given);
        differences.fold(0, |all, (kept, given)| all | (kept ^ given)) == 0
    }
}

fn digest(salt: &[u8], password: &str) -> [u8; 32] {
    let hash = Sha256::new().chain_update(salt).chain_update(password);
    hash.finalize().into()
}

impl FromStr for PasswordHash {
    type Err = InvalidPasswordHash;

    fn from_str(text: &str) -> Result<Self, InvalidPasswordHash> {
        let mut parts = text.split(':');
        let (Some(SCHEME), Some(salt), Some(digest), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidPasswordHash);
        };
        let salt = hex::decode(salt).map_err(|_| InvalidPasswordHash)?;
        let digest = hex::decode(digest).map_err(|_| InvalidPasswordHash)?;
        let digest = digest.try_into().map_err(|_| InvalidPasswordHash)?;
        if SALT.contains(&salt.len()) {
            Ok(Self { salt, digest })
        } else {
            Err(InvalidPasswordHash)
        }
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, digest) = (hex::encode(&self.salt), hex::encode(self.digest));
        write!(f, "{SCHEME}:{salt}:{digest}")
    }
}

/// No log shows what a password could be guessed by.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_own_password_only_and_is_written_as_it_is_read() {
        let hash = PasswordHash::new("correct horse", [7; 16]);
        assert!(hash.fits("correct horse"));
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert!(!hash.fits(wrong), "{wrong:?}");
        }
        let read: PasswordHash = hash.to_string().parse().unwrap();
        assert_eq!(read, hash);
        assert_eq!(format!("{hash:?}"), "PasswordHash");
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let digest = "00".repeat(32);
        for text in [
            "secret".to_owned(),
            format!("sha256:{digest}"),
            format!("sha256::{digest}"),
            format!("md5:0011223344556677:{digest}"),
            format!("sha256:0011223344556677:{digest}00"),
            format!("sha256:0011223344556677:{digest}:"),
            format!("sha256:zz11223344556677:{digest}"),
        ] {
            assert!(text.parse::<PasswordHash>().is_err(), "{text}");
        }
    }
}
