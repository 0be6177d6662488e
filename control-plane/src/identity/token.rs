//! The form of our tokens: a prefix that secret scanners find, 256 random bits and a checksum, so
//! that rubbish is refused without asking the database.

use std::fmt::Write as _;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

const SECRET_DIGITS: usize = 64;
const CHECKSUM_DIGITS: usize = 8;

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A person's sign-in.
    Session,
    /// A program's access to one organization.
    ApiToken,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Session, Self::ApiToken];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Session => "rh_ses_",
            Self::ApiToken => "rh_pat_",
        }
    }
}

/// What is stored of a token: its SHA-256.
pub type TokenHash = [u8; 32];

/// A well-formed token. Whether it is good for anything only the database knows.
pub struct Token {
    kind: Kind,
    text: SecretString,
}

impl Token {
    /// A new token of 256 random bits.
    #[must_use]
    pub fn generate(kind: Kind) -> Self {
        let secret: [u8; SECRET_DIGITS / 2] = rand::random();
        let mut text = format!("{}{}", kind.prefix(), hex::encode(secret));
        let checksum = crc32fast::hash(text.as_bytes());
        let _ = write!(text, "{checksum:08x}");
        Self {
            kind,
            text: text.into(),
        }
    }

    /// Reads a token; none when its form or checksum is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| text.starts_with(kind.prefix()))?;
        let digits = text.strip_prefix(kind.prefix())?;
        if digits.len() != SECRET_DIGITS + CHECKSUM_DIGITS
            || !digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return None;
        }
        let (body, checksum) = text.split_at(text.len() - CHECKSUM_DIGITS);
        (format!("{:08x}", crc32fast::hash(body.as_bytes())) == checksum).then(|| Self {
            kind,
            text: text.to_owned().into(),
        })
    }

    /// What it stands for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What is stored.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        Sha256::digest(self.text.expose_secret().as_bytes()).into()
    }

    /// The text itself, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.text.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_hashes_alike() {
        for kind in Kind::ALL {
            let token = Token::generate(kind);
            let read = Token::parse(token.reveal()).unwrap();
            assert_eq!((read.kind(), read.hash()), (kind, token.hash()));
        }
    }

    #[test]
    fn one_wrong_digit_is_noticed_without_a_database() {
        let token = Token::generate(Kind::Session);
        let text = token.reveal();
        let last = if text.ends_with('0') { '1' } else { '0' };
        let wrong = format!("{}{last}", &text[..text.len() - 1]);
        assert!(Token::parse(&wrong).is_none());
        for rubbish in [
            "",
            "rh_ses_",
            "rh_pat_abc",
            "Bearer x",
            &text.to_uppercase(),
        ] {
            assert!(Token::parse(rubbish).is_none(), "{rubbish}");
        }
    }

    #[test]
    fn two_tokens_differ() {
        assert_ne!(
            Token::generate(Kind::Session).reveal(),
            Token::generate(Kind::Session).reveal()
        );
    }
}
