//! Hostnames: what users may ask for, and the default address that every web service gets.
//! Whoever holds a [`Hostname`] may compare it and put it into a certificate as it is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::name::Name;

/// Longest DNS label (RFC 1035 §2.3.4).
pub const LABEL_MAX: usize = 63;

/// Longest hostname as text.
pub const HOSTNAME_MAX: usize = 253;

const HASH_LENGTH: usize = 8;

/// A lower-case DNS name of at least two labels, `*.` in front for a wildcard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Hostname(String);

/// Why a text can't be the hostname of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHostname {
    /// Not a DNS name.
    #[error(
        "a hostname has at least two labels of letters, digits and hyphens, each at most 63 characters and 253 together, such as api.example.com"
    )]
    Shape,
    /// The platform keeps it for itself.
    #[error("{0} belongs to the platform: choose another name")]
    Reserved(String),
}

impl Hostname {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the platform's domain or below it.
    #[must_use]
    pub fn is_within(&self, platform_domain: &str) -> bool {
        self.0 == platform_domain
            || self
                .0
                .strip_suffix(platform_domain)
                .is_some_and(|rest| rest.ends_with('.'))
    }

    /// Refuses what the platform keeps below its own domain: the domain itself, wildcards, names
    /// of more than one label, and reserved words.
    ///
    /// # Errors
    /// [`InvalidHostname::Reserved`].
    pub fn check_custom(&self, platform_domain: &str) -> Result<(), InvalidHostname> {
        if !self.is_within(platform_domain) {
            return Ok(());
        }
        let label = self
            .0
            .strip_suffix(platform_domain)
            .and_then(|rest| rest.strip_suffix('.'));
        let free = label
            .and_then(|label| label.parse::<Name>().ok())
            .is_some_and(|name| !name.is_reserved());
        if free {
            Ok(())
        } else {
            Err(InvalidHostname::Reserved(self.0.clone()))
        }
    }
}

impl FromStr for Hostname {
    type Err = InvalidHostname;

    fn from_str(text: &str) -> Result<Self, InvalidHostname> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let bare = text.strip_prefix("*.").unwrap_or(&text);
        let numeric_end = bare
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
        let well_formed = text.len() <= HOSTNAME_MAX
            && bare.contains('.')
            && !numeric_end
            && bare.split('.').all(is_label);
        if well_formed {
            Ok(Self(text))
        } else {
            Err(InvalidHostname::Shape)
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hostname {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_MAX).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The default address's first label: `<service>-<environment>-<project>`, the environment left
/// out for `production`. Longer than a label may be, it ends in a stable short hash instead.
///
/// It always has a hyphen, so it can't be one of the platform's reserved words.
#[must_use]
pub fn default_label(service: &Name, environment: &Name, project: &Name) -> String {
    let label = full_label(service, environment, project);
    if label.len() <= LABEL_MAX {
        label
    } else {
        hashed(&label, &label)
    }
}

/// The label to take when another tenant has [`default_label`]: it ends in a short hash of `seed`
/// (the service's id), so that asking again gives the same one.
#[must_use]
pub fn distinct_label(service: &Name, environment: &Name, project: &Name, seed: &str) -> String {
    hashed(&full_label(service, environment, project), seed)
}

fn full_label(service: &Name, environment: &Name, project: &Name) -> String {
    if environment.as_str() == "production" {
        format!("{service}-{project}")
    } else {
        format!("{service}-{environment}-{project}")
    }
}

fn hashed(label: &str, seed: &str) -> String {
    let digest = hex::encode(Sha256::digest(seed.as_bytes()));
    let room = LABEL_MAX - HASH_LENGTH - 1;
    let kept: String = label.chars().take(room).collect();
    let hash: String = digest.chars().take(HASH_LENGTH).collect();
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn production_is_left_out() {
        let (service, project) = (name("web"), name("shop"));
        assert_eq!(
            default_label(&service, &name("production"), &project),
            "web-shop"
        );
        assert_eq!(
            default_label(&service, &name("staging"), &project),
            "web-staging-shop"
        );
    }

    #[test]
    fn a_long_label_ends_in_a_stable_hash() {
        let long = name(&"a".repeat(40));
        let label = default_label(&long, &name("staging"), &name("shop"));
        assert_eq!(label, default_label(&long, &name("staging"), &name("shop")));
        assert_ne!(label, default_label(&long, &name("staging"), &name("shed")));
        assert!(default_label(&long, &name("staging"), &long).len() == LABEL_MAX);
    }

    #[test]
    fn hostnames_that_are_none() {
        for text in [
            "", "com", ".", "a..b", "-a.com", "a-.com", "a_b.com", "a.*.com", "*", "*.com",
            "1.2.3.4", "a b.com", "ä.com", "a.com/x", "a.com:80",
        ] {
            assert!(text.parse::<Hostname>().is_err(), "{text:?}");
        }
        assert_eq!(
            "API.Example.com.".parse::<Hostname>().unwrap().as_str(),
            "api.example.com"
        );
        assert!("*.example.com".parse::<Hostname>().is_ok());
    }

    #[test]
    fn the_platforms_own_names_are_refused() {
        let check = |text: &str| {
            text.parse::<Hostname>()
                .unwrap()
                .check_custom("railhead.test")
        };
        for text in [
            "api.railhead.test",
            "railhead.test",
            "a.b.railhead.test",
            "*.railhead.test",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        for text in ["shop.railhead.test", "api.example.com", "xrailhead.test"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_default_address_is_a_hostname(
            service in "[a-z]([a-z0-9]{0,38}[a-z0-9])?",
            environment in "[a-z](-[a-z0-9]{1,18}){0,2}",
            project in "[a-z]([a-z0-9]{0,38}[a-z0-9])?",
        ) {
            let (service, environment, project) = (name(&service), name(&environment), name(&project));
            for label in [
                default_label(&service, &environment, &project),
                distinct_label(&service, &environment, &project, "svc_1"),
            ] {
                let hostname = format!("{label}.railhead.test");
                prop_assert!(hostname.parse::<Hostname>().is_ok(), "{}", hostname);
            }
        }
    }
}
