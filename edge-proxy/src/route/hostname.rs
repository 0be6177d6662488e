//! Host names as they stand in requests, certificates and routes.

use std::borrow::Cow;

/// Longest host name (RFC 1035 §2.3.4).
const MAX: usize = 253;

/// The host of an authority (`Host`, `:authority`): without port and trailing dot, in lower case.
/// None for what is no DNS name or address.
#[must_use]
pub fn of_authority(authority: &str) -> Option<Cow<'_, str>> {
    let host = without_port(authority)?;
    normalize(host)
}

/// A host name in lower case without trailing dot; none for what is no DNS name or IPv4 address.
#[must_use]
pub fn normalize(host: &str) -> Option<Cow<'_, str>> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.is_empty()
        || host.len() > MAX
        || !host.bytes().all(legal)
        || host.starts_with('.')
        || host.contains("..")
    {
        return None;
    }
    Some(if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

fn without_port(authority: &str) -> Option<&str> {
    match authority.rsplit_once(':') {
        None => Some(authority),
        Some((host, port)) => {
            (port.len() <= 5 && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
                .then_some(host)
        }
    }
}

/// Whether a certificate's name is good for a host: the same, or `*.` for exactly one label
/// (RFC 6125 §6.4.3).
#[must_use]
pub fn matches(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => parent_of(host).is_some_and(|rest| rest.eq_ignore_ascii_case(parent)),
        None => name.eq_ignore_ascii_case(host),
    }
}

/// What follows the first label.
#[must_use]
pub fn parent_of(host: &str) -> Option<&str> {
    host.split_once('.')
        .map(|(_, parent)| parent)
        .filter(|parent| !parent.is_empty())
}

/// A route's host name, split by kind. None when it is no host name.
#[must_use]
pub fn pattern(text: &str) -> Option<Pattern> {
    match text.strip_prefix("*.") {
        Some(parent) => normalize(parent).map(|p| Pattern::Wildcard(p.into_owned())),
        None => normalize(text).map(|h| Pattern::Exact(h.into_owned())),
    }
}

/// What a route or certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// One host.
    Exact(String),
    /// Every host one label below this.
    Wildcard(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_cover_one_label() {
        assert!(matches("*.a.test", "b.a.test"));
        assert!(matches("B.A.test", "b.a.test"));
        for host in ["a.test", "c.b.a.test", "b.a.test.evil", ""] {
            assert!(!matches("*.a.test", host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_out_is_a_plain_name(authority in "\\PC{0,40}") {
            if let Some(host) = of_authority(&authority) {
                prop_assert!(!host.is_empty() && !host.contains([':', '/', '@', ' ', '?', '#']));
                prop_assert_eq!(normalize(&host), Some(Cow::Borrowed(&*host)));
            }
        }
    }
}
