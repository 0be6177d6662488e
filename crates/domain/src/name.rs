//! Validated names. Whoever holds a [`Name`] may put it into a hostname, a label or an image
//! repository without escaping.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

/// Longest name, so that `<service>.internal` and image repositories stay within DNS limits.
pub const NAME_MAX: usize = 40;

/// Words that would collide with the platform's own hosts and paths.
const RESERVED: &[&str] = &[
    "api",
    "console",
    "internal",
    "localhost",
    "node",
    "railhead",
    "registry",
    "www",
    "admin",
    "system",
    "metadata",
];

/// Why a text is no [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing there.
    #[error("a name can't be empty")]
    Empty,
    /// More than [`NAME_MAX`] characters.
    #[error("a name has at most {NAME_MAX} characters")]
    TooLong,
    /// A character outside `a-z`, `0-9`, `-`, or a hyphen or digit where none may stand.
    #[error(
        "a name has lower-case letters, digits and single hyphens, begins with a letter and ends with a letter or digit"
    )]
    Shape,
}

/// A name such as `web` or `api-2`: a DNS label without surprises.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the platform keeps this word for itself (in default hostnames and organization names).
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        RESERVED.contains(&self.as_str())
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bytes = text.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
            return Err(InvalidName::Empty);
        };
        if bytes.len() > NAME_MAX {
            return Err(InvalidName::TooLong);
        }
        let well_formed = first.is_ascii_lowercase()
            && *last != b'-'
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && !text.contains("--");
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Shape)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`, at most 128 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct VariableName(String);

/// A text that can't name an environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a variable's name has letters, digits and underscores, begins with no digit, and has at most 128 characters"
)]
pub struct InvalidVariableName;

impl VariableName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VariableName {
    type Err = InvalidVariableName;

    fn from_str(text: &str) -> Result<Self, InvalidVariableName> {
        let begins_well = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let well_formed = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if begins_well && well_formed && text.len() <= 128 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidVariableName)
        }
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for VariableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_are_not_names() {
        for text in [
            "",
            "-a",
            "a-",
            "a--b",
            "A",
            "1a",
            "a_b",
            "a.b",
            "ä",
            "a b",
            "a\n",
            "$(id)",
            &"a".repeat(41),
        ] {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_is_a_dns_label(text in ".{0,50}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert!(name.as_str().len() <= 63);
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
            }
        }
    }
}
