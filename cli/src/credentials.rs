//! Who the user is at each API: a token and, where given, the only authority that API's
//! certificate is trusted from. One file for all, for its owner only.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    error::{Error, Result},
    files,
};

/// The credentials file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The API that is meant when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By address.
    #[serde(default, rename = "api")]
    pub apis: BTreeMap<String, Entry>,
}

/// What is kept about one API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Of a session or an API token; absent after `logout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Whose it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// PEM of the only authorities to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl Credentials {
    /// Reads the file; a missing one is empty.
    pub fn load() -> Result<Self> {
        let path = path()?;
        let Some(text) = files::read_if_there(&path)? else {
            return Ok(Self::default());
        };
        toml::from_str(&text).map_err(|error| Error::file("understand", path, &error.message()))
    }

    /// Writes the file.
    pub fn save(&self) -> Result {
        let path = path()?;
        let text =
            toml::to_string(self).map_err(|error| Error::file("write", path.clone(), &error))?;
        files::write_private(&path, &text)
    }

    /// What is kept about an API.
    pub fn of(&self, address: &Address) -> Option<&Entry> {
        self.apis.get(&address.to_string())
    }

    /// Keeps what is known about an API and makes it the one that is meant from now on.
    pub fn sign_in(&mut self, address: &Address, entry: Entry) {
        self.apis.insert(address.to_string(), entry);
        self.current = Some(address.to_string());
    }

    /// Forgets the token; the pinned authority stays, for the next login.
    pub fn sign_out(&mut self, address: &Address) {
        if let Some(entry) = self.apis.get_mut(&address.to_string()) {
            entry.token = None;
            entry.email = None;
        }
    }
}

fn path() -> Result<PathBuf> {
    let directory = dirs::config_dir().ok_or_else(|| {
        Error::usage(
            "this user has no home directory to keep credentials in",
            "set HOME or XDG_CONFIG_HOME, or use RAILHEAD_API and RAILHEAD_TOKEN",
        )
    })?;
    Ok(directory.join("railhead").join("credentials.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_out_keeps_the_pinned_authority() {
        let address: Address = "https://a.example.com".parse().unwrap();
        let mut credentials = Credentials::default();
        let entry = Entry {
            token: Some("t".into()),
            email: Some("a@example.com".into()),
            ca: Some("pem".into()),
        };
        credentials.sign_in(&address, entry);
        credentials.sign_out(&address);
        let left = credentials.of(&address).unwrap();
        assert_eq!(
            (left.token.as_ref(), left.ca.as_deref()),
            (None, Some("pem"))
        );
    }

    #[test]
    fn the_file_reads_back() {
        let address: Address = "https://a.example.com".parse().unwrap();
        let mut credentials = Credentials::default();
        credentials.sign_in(
            &address,
            Entry {
                token: Some("t".into()),
                ..Entry::default()
            },
        );
        let text = toml::to_string(&credentials).unwrap();
        assert_eq!(toml::from_str::<Credentials>(&text).unwrap(), credentials);
    }
}
