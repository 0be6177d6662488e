//! A request as rules see it: borrowed from whoever has it, nothing is copied that need not be put together.

use std::{borrow::Cow, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::path::normalized;

/// A request's head, and where it comes from.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// `GET` and the like.
    pub method: &'a str,
    /// As the client wrote it, without the query.
    pub raw_path: &'a str,
    /// What follows `?`; empty when nothing does.
    pub query: &'a str,
    /// Lower case, without port.
    pub host: &'a str,
    /// All of them.
    pub headers: &'a HeaderMap,
    /// The client's address.
    pub ip: IpAddr,
    /// Where that is.
    pub place: Place,
    /// The region of the edge that the client came to.
    pub region: &'a str,
    /// Whether it came over TLS.
    pub tls: bool,
    path: Cow<'a, str>,
}

/// Where an address is, as far as somebody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    country: Option<[u8; 2]>,
    /// Number of the autonomous system; 0 when it is not known.
    pub asn: u32,
}

impl Place {
    /// In a country (ISO 3166-1, two letters; anything else means that it is not known) and a network.
    #[must_use]
    pub fn new(country: Option<&str>, asn: u32) -> Self {
        let letters = country.and_then(|code| <[u8; 2]>::try_from(code.as_bytes()).ok());
        let letters = letters.filter(|code| code.iter().all(u8::is_ascii_alphabetic));
        Self {
            country: letters.map(|code| code.map(|letter| letter.to_ascii_uppercase())),
            asn,
        }
    }

    /// Two upper-case letters; empty when it is not known.
    #[must_use]
    pub fn country(&self) -> &str {
        let code = self.country.as_ref();
        code.and_then(|code| std::str::from_utf8(code).ok())
            .unwrap_or_default()
    }
}

impl<'a> Request<'a> {
    /// A request for a path and query, as the client wrote them, of a host in lower case without port.
    #[must_use]
    pub fn new(
        method: &'a str,
        path_and_query: &'a str,
        host: &'a str,
        headers: &'a HeaderMap,
        ip: IpAddr,
    ) -> Self {
        let (raw_path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        Self {
            method,
            raw_path,
            query,
            host,
            headers,
            ip: ip.to_canonical(),
            place: Place::default(),
            region: "",
            tls: false,
            path: normalized(raw_path),
        }
    }

    /// As conditions see it: without escapes and dots.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A header's value; empty when it is absent, all of them when there are several (RFC 9110 §5.3).
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Cow<'_, str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next().map(text).unwrap_or_default();
        let Some(second) = values.next() else {
            return first;
        };
        // HTTP/2 splits cookies (RFC 9113 §8.2.3).
        let separator = if *name == header::COOKIE { "; " } else { ", " };
        let mut all = first.into_owned();
        for value in std::iter::once(second).chain(values) {
            all.push_str(separator);
            all.push_str(&text(value));
        }
        Cow::Owned(all)
    }
}

fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_are_seen_together() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-a", "1"),
            ("x-a", "2"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.insert("x-b", HeaderValue::from_bytes(b"\xff").unwrap());
        let ip = "::ffff:192.0.2.7".parse().unwrap();
        let request = Request::new("GET", "/%61?b=c?d", "a.test", &headers, ip);
        assert_eq!(request.header(&HeaderName::from_static("x-a")), "1, 2");
        assert_eq!(request.header(&header::COOKIE), "a=1; b=2");
        assert_eq!(request.header(&HeaderName::from_static("x-b")), "\u{fffd}");
        assert_eq!(request.header(&header::ACCEPT), "");
        assert_eq!((request.path(), request.query), ("/a", "b=c?d"));
        assert_eq!(request.ip.to_string(), "192.0.2.7");
    }

    #[test]
    fn a_country_has_two_letters_or_is_not_known() {
        assert_eq!(Place::new(Some("de"), 0).country(), "DE");
        for unknown in [None, Some(""), Some("D"), Some("DEU"), Some("??")] {
            assert_eq!(Place::new(unknown, 7).country(), "", "{unknown:?}");
        }
    }
}
