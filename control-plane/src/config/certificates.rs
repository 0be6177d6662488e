//! Where certificates of tenants' own hostnames come from.

use std::{collections::BTreeSet, path::PathBuf};

use serde::Deserialize;
use url::Url;

/// Certificates of tenants' own hostnames.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Certificates {
    /// Certificate authorities that speak ACME (RFC 8555): the first one is asked, the next one after two failures in a row.
    /// Without any the platform's own authority issues, which only who knows it trusts.
    pub authorities: Vec<Authority>,
}

/// A certificate authority.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// What it is called in messages and metrics: `letsencrypt`.
    pub name: String,
    /// URL of its directory.
    pub directory: Url,
    /// Whom it may write to: `mailto:ops@example.com`.
    #[serde(default)]
    pub contact: Vec<String>,
    /// That its terms of service are agreed to; without it nothing is ordered there.
    pub terms_of_service_agreed: bool,
    /// Which of its profiles; its default one when absent.
    pub profile: Option<String>,
    /// Certificates (PEM) that it is known by; those that the machine trusts when absent.
    pub root_file: Option<PathBuf>,
    /// An account that it knows already (external account binding).
    pub external_account: Option<ExternalAccount>,
    /// Domain names by which CAA records allow it: `letsencrypt.org`. When absent, CAA is left to the authority.
    #[serde(default)]
    pub caa_identities: Vec<String>,
    /// Orders in three hours, at most. Let's Encrypt allows an account 300.
    pub orders_per_3h: Option<u32>,
}

/// An account that an authority knows already.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// What it calls the account.
    pub key_id: String,
    /// A file with the key, base64url as the authority shows it.
    pub key_file: PathBuf,
}

/// Below what Let's Encrypt allows: renewals and those of other installations need some, too.
const ORDERS_PER_3H: u32 = 180;

impl Authority {
    /// Orders in three hours, at most.
    #[must_use]
    pub fn orders(&self) -> u32 {
        self.orders_per_3h.unwrap_or(ORDERS_PER_3H)
    }
}

impl Certificates {
    pub(super) fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for authority in &self.authorities {
            let name = &authority.name;
            if name.is_empty() || !names.insert(name) {
                return Err(format!(
                    "certificates.authorities: each has a name of its own, not \"{name}\" again"
                ));
            }
            if authority.directory.scheme() != "https" {
                return Err(format!(
                    "certificates.authorities: directory of {name} must be an https:// address, not {}",
                    authority.directory
                ));
            }
            if !authority.terms_of_service_agreed {
                return Err(format!(
                    "certificates.authorities: read the terms of service of {name}, then set terms_of_service_agreed = true"
                ));
            }
            if authority.orders() == 0 {
                return Err(format!(
                    "certificates.authorities: orders_per_3h of {name} must be at least 1"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        toml::from_str::<Certificates>(text)
            .map_err(|error| error.to_string())?
            .check()
    }

    const GOOD: &str = r#"
        [[authorities]]
        name = "letsencrypt"
        directory = "https://acme-v02.api.letsencrypt.org/directory"
        contact = ["mailto:ops@example.com"]
        terms_of_service_agreed = true
        caa_identities = ["letsencrypt.org"]
        [[authorities]]
        name = "other"
        directory = "https://acme.example.com/directory"
        terms_of_service_agreed = true
        external_account = { key_id = "k1", key_file = "/etc/railhead/eab" }
    "#;

    #[test]
    fn mistakes_are_named() {
        assert_eq!(check(GOOD), Ok(()));
        assert_eq!(check(""), Ok(()));
        for (good, bad, says) in [
            (
                "https://acme.example.com",
                "http://acme.example.com",
                "https://",
            ),
            ("\"other\"", "\"letsencrypt\"", "name of its own"),
            (
                "terms_of_service_agreed = true",
                "terms_of_service_agreed = false",
                "terms of service",
            ),
            ("name = \"other\"", "nam = \"other\"", "nam"),
        ] {
            let error = check(&GOOD.replace(good, bad)).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
