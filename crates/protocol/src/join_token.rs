//! The single-use token that lets a machine become a node (DESIGN §5, join). It carries the hash of
//! the CA's public key, so that the very first connection is already checked.

use std::{fmt, str::FromStr};

use domain::id::JoinTokenId;

/// `rhj_<32 hex digits of its id>.<secret>.<SHA-256 of the CA's SubjectPublicKeyInfo, hex>`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Under which the control plane finds it.
    pub id: JoinTokenId,
    /// 64 hexadecimal digits; only its hash is stored.
    pub secret: String,
    /// SHA-256 of the CA's SubjectPublicKeyInfo (DER).
    pub ca_sha256: [u8; 32],
}

/// A text that is no join token. Never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no join token: expected rhj_<id>.<secret>.<hash of the CA>; make one with `railhead node join`"
)]
pub struct InvalidJoinToken;

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.uuid().simple();
        write!(
            f,
            "rhj_{id}.{}.{}",
            self.secret,
            hex::encode(self.ca_sha256)
        )
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = InvalidJoinToken;

    fn from_str(text: &str) -> Result<Self, InvalidJoinToken> {
        let rest = text.strip_prefix("rhj_").ok_or(InvalidJoinToken)?;
        let mut parts = rest.split('.');
        let (Some(id), Some(secret), Some(ca), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidJoinToken);
        };
        let id = format!("{}_{id}", JoinTokenId::PREFIX);
        let well_formed = secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_hexdigit());
        let mut ca_sha256 = [0; 32];
        hex::decode_to_slice(ca, &mut ca_sha256).map_err(|_| InvalidJoinToken)?;
        match id.parse() {
            Ok(id) if well_formed => Ok(Self {
                id,
                secret: secret.to_owned(),
                ca_sha256,
            }),
            _ => Err(InvalidJoinToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_never_shows_its_secret() {
        let token = JoinToken {
            id: JoinTokenId::new(),
            secret: "ab".repeat(32),
            ca_sha256: [7; 32],
        };
        assert_eq!(token.to_string().parse::<JoinToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains(&token.secret));
        let text = token.to_string();
        for text in [
            "",
            "rhj_",
            "rhj_a.b.c",
            &text[1..],
            &text[..text.len() - 2],
            &format!("{text}.x"),
        ] {
            assert!(text.parse::<JoinToken>().is_err(), "{text}");
        }
    }
}
