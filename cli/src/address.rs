//! The API's address as people write it. Only HTTPS, for a token travels with each request; plain
//! HTTP is allowed to this machine itself.

use std::{fmt, str::FromStr};

use url::{Host, Url};

/// A text that is no address of an API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a URL with a host.
    #[error("\"{0}\" is not an address such as https://railhead.example.com")]
    Shape(String),
    /// It would send the token in the clear.
    #[error("\"{0}\" is not encrypted: use https:// (plain http:// only to this machine)")]
    Plain(String),
}

/// An address with scheme, host and a trailing slash, so that one API has one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// As a URL to join paths to.
    pub const fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for Address {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let shape = || Invalid::Shape(text.to_owned());
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let mut url = Url::parse(&with_scheme).map_err(|_| shape())?;
        match (url.scheme(), is_this_machine(&url)) {
            ("https", _) | ("http", true) => {}
            ("http", false) => return Err(Invalid::Plain(text.to_owned())),
            _ => return Err(shape()),
        }
        if url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() {
            return Err(shape());
        }
        url.set_query(None);
        url.set_fragment(None);
        let path = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        text.parse::<Address>().unwrap().to_string()
    }

    #[test]
    fn one_api_has_one_spelling() {
        assert_eq!(
            parsed("railhead.example.com"),
            "https://railhead.example.com"
        );
        assert_eq!(
            parsed("https://R.example.com:443/?x#y"),
            "https://r.example.com"
        );
        assert_eq!(parsed("https://a/railhead"), "https://a/railhead");
        assert_eq!(parsed("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
    }

    #[test]
    fn a_token_never_travels_in_the_clear() {
        for text in ["http://railhead.example.com", "http://10.0.0.1"] {
            assert!(
                matches!(text.parse::<Address>(), Err(Invalid::Plain(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "https://", "ftp://a", "https://user@host", "a b"] {
            assert!(
                matches!(text.parse::<Address>(), Err(Invalid::Shape(_))),
                "{text}"
            );
        }
    }
}
