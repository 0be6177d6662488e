//! A chain of certificates as an authority issues it or somebody uploads it: read, and held against the hostname and the
//! key that it is to be served with.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use rustls::{crypto::aws_lc_rs::default_provider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Certificates of a chain; public ones have three or four.
const LENGTH_MAX: usize = 10;
/// Of a chain and of a key, so that no item of a feed becomes larger than a line of it may be.
const CHAIN_BYTES_MAX: usize = 100_000;
const KEY_BYTES_MAX: usize = 20_000;
/// An issuer's clock may be so far ahead of ours.
const CLOCKS: TimeDelta = TimeDelta::minutes(5);

/// Why a chain can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is none.
    #[error("it is no chain of certificates in PEM, leaf first: {0}")]
    Pem(String),
    /// It has another one than the next certificate's.
    #[error(
        "certificate {0} of the chain is not issued by the one after it; put the leaf first and its issuers behind it"
    )]
    Order(usize),
    /// The key.
    #[error("the private key can't be read: {0}; give it in PEM (PKCS#8), without a passphrase")]
    Key(String),
    /// Another pair's.
    #[error("the private key is not the certificate's")]
    ForeignKey,
    /// It is good for other names.
    #[error("it is not good for {hostname}, but for {}", names.join(", "))]
    Name {
        /// What it is to be served for.
        hostname: String,
        /// What it is good for.
        names: Vec<String>,
    },
    /// It is not good now.
    #[error("it is good from {not_before} to {not_after} only")]
    Time {
        /// The begin.
        not_before: DateTime<Utc>,
        /// The end.
        not_after: DateTime<Utc>,
    },
}

/// From when to when a leaf is good.
pub type Life = (DateTime<Utc>, DateTime<Utc>);

/// A chain that can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Leaf first: the certificates alone, whatever lay between them.
    pub pem: String,
    pub not_before: DateTime<Utc>,
    pub not_after: DateTime<Utc>,
}

impl Chain {
    /// Reads a chain and holds it against what it is to be served for, at `now`, as an edge will.
    ///
    /// # Errors
    /// [`Error`].
    pub fn check(
        pem: &str,
        key_pem: &str,
        hostname: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let chain = certificates(pem)?;
        let parsed = chain.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        check_order(&parsed)?;
        let leaf = parsed.first();
        let leaf = leaf.ok_or_else(|| Error::Pem("it is empty".to_owned()))?;
        check_name(leaf, hostname)?;
        let (not_before, not_after) = validity(leaf)?;
        if now + CLOCKS < not_before || not_after <= now {
            return Err(Error::Time {
                not_before,
                not_after,
            });
        }
        let pem = chain.iter().map(encode).collect();
        check_key(chain, key_pem)?;
        Ok(Self {
            pem,
            not_before,
            not_after,
        })
    }

    /// The first certificate.
    ///
    /// # Errors
    /// When there is none.
    pub fn leaf(pem: &str) -> Result<CertificateDer<'static>, Error> {
        let mut chain = certificates(pem)?;
        if chain.is_empty() {
            return Err(Error::Pem("it is empty".to_owned()));
        }
        Ok(chain.swap_remove(0))
    }

    /// The life of the first certificate.
    ///
    /// # Errors
    /// When there is none.
    pub fn life(pem: &str) -> Result<Life, Error> {
        let leaf = Self::leaf(pem)?;
        validity(&parse(&leaf)?)
    }
}

/// By the very code that edges serve with: what they would refuse is refused here.
fn check_key(chain: Vec<CertificateDer<'static>>, key_pem: &str) -> Result<(), Error> {
    let unreadable = |reason: String| Error::Key(reason);
    if key_pem.len() > KEY_BYTES_MAX {
        return Err(unreadable(format!(
            "it has more than {KEY_BYTES_MAX} bytes"
        )));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes());
    let key = key.map_err(|error| unreadable(error.to_string()))?;
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Error::ForeignKey),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

fn encode(der: &CertificateDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    if pem.len() > CHAIN_BYTES_MAX {
        return Err(Error::Pem(format!(
            "it has more than {CHAIN_BYTES_MAX} bytes"
        )));
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(LENGTH_MAX + 1)
        .collect();
    let chain = chain.map_err(|error| Error::Pem(error.to_string()))?;
    if chain.len() > LENGTH_MAX {
        return Err(Error::Pem(format!(
            "it has more than {LENGTH_MAX} certificates"
        )));
    }
    Ok(chain)
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let parsed = X509Certificate::from_der(der.as_ref());
    let (_, parsed) = parsed.map_err(|error| Error::Pem(error.to_string()))?;
    Ok(parsed)
}

/// By name: whether the signatures are good is up to those who trust one of the issuers.
fn check_order(chain: &[X509Certificate<'_>]) -> Result<(), Error> {
    let pairs = chain.iter().zip(chain.iter().skip(1));
    let wrong = pairs
        .enumerate()
        .find(|(_, (one, next))| one.issuer().as_raw() != next.subject().as_raw());
    wrong.map_or(Ok(()), |(at, _)| Err(Error::Order(at + 1)))
}

fn check_name(leaf: &X509Certificate<'_>, hostname: &str) -> Result<(), Error> {
    let names = names(leaf)?;
    let parent = hostname.split_once('.').map(|(_, parent)| parent);
    let covers = |name: &String| {
        let wildcard = name.strip_prefix("*.");
        name.eq_ignore_ascii_case(hostname)
            || wildcard
                .zip(parent)
                .is_some_and(|(of, parent)| of.eq_ignore_ascii_case(parent))
    };
    if names.iter().any(covers) {
        return Ok(());
    }
    Err(Error::Name {
        hostname: hostname.to_owned(),
        names,
    })
}

fn names(leaf: &X509Certificate<'_>) -> Result<Vec<String>, Error> {
    let extension = leaf.subject_alternative_name();
    let extension = extension.map_err(|error| Error::Pem(error.to_string()))?;
    let names = extension
        .iter()
        .flat_map(|names| &names.value.general_names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    Ok(dns.collect())
}

fn validity(leaf: &X509Certificate<'_>) -> Result<Life, Error> {
    let time = |seconds| {
        let time = DateTime::from_timestamp(seconds, 0);
        time.ok_or_else(|| Error::Pem("its validity is no time".to_owned()))
    };
    let validity = leaf.validity();
    Ok((
        time(validity.not_before.timestamp())?,
        time(validity.not_after.timestamp())?,
    ))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    struct Made {
        leaf: String,
        ca: String,
        key: String,
    }

    fn made(names: &[&str]) -> Made {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name
            .push(DnType::CommonName, "a test's authority");
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = CertificateParams::new(names).unwrap();
        leaf.not_before = rcgen::date_time_ymd(2026, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2026, 3, 1);
        Made {
            leaf: leaf.signed_by(&key, &issuer).unwrap().pem(),
            ca: ca_pem,
            key: key.serialize_pem(),
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn checked(pem: &str, key: &str, hostname: &str) -> Result<Chain, Error> {
        Chain::check(pem, key, hostname, at("2026-02-01T00:00:00Z"))
    }

    #[test]
    fn a_chain_that_fits_is_taken_with_its_times() {
        let made = made(&["a.test", "*.b.test"]);
        let pem = format!("{}{}", made.leaf, made.ca);
        for hostname in ["a.test", "x.b.test", "*.b.test"] {
            let chain = checked(&pem, &made.key, hostname).unwrap();
            assert_eq!(chain.not_after, at("2026-03-01T00:00:00Z"));
        }
    }

    #[test]
    fn whatever_lies_between_certificates_stays_with_its_owner() {
        let made = made(&["a.test"]);
        let pem = format!("a comment\n{}{}{}", made.leaf, made.key, made.ca);
        let chain = checked(&pem, &made.key, "a.test").unwrap();
        assert!(!chain.pem.contains("PRIVATE") && !chain.pem.contains("comment"));
        assert_eq!(checked(&chain.pem, &made.key, "a.test").unwrap(), chain);
    }

    #[test]
    fn what_does_not_fit_is_refused_for_its_reason() {
        let (made, other) = (made(&["a.test"]), made(&["a.test"]));
        let both = format!("{}{}", made.leaf, made.ca);
        let reversed = format!("{}{}", made.ca, made.leaf);
        let refused = |pem: &str, key: &str, host: &str| checked(pem, key, host).unwrap_err();
        assert!(matches!(
            refused(&both, &made.key, "b.a.test"),
            Error::Name { .. }
        ));
        assert_eq!(refused(&both, &other.key, "a.test"), Error::ForeignKey);
        assert_eq!(refused(&reversed, &made.key, "a.test"), Error::Order(1));
        assert!(matches!(refused("", &made.key, "a.test"), Error::Pem(_)));
        assert!(matches!(refused(&both, "no key", "a.test"), Error::Key(_)));
        let late = Chain::check(&both, &made.key, "a.test", at("2026-03-01T00:00:00Z"));
        assert!(matches!(late, Err(Error::Time { .. })));
        let endless = made.ca.repeat(LENGTH_MAX + 1);
        assert!(matches!(
            refused(&endless, &made.key, "a.test"),
            Error::Pem(_)
        ));
    }
}
