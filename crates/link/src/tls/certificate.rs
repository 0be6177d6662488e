//! What we read from a certificate: its time, its SPIFFE id, the hash of its public key.

use chrono::{DateTime, Utc};
use protocol::join::SpiffeId;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

/// Why a certificate can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No X.509.
    #[error("a certificate can't be read: {0}")]
    Unreadable(String),
    /// PEM without a certificate.
    #[error("there is no certificate in the PEM text")]
    Missing,
    /// Not one SPIFFE id of ours.
    #[error("a certificate names no node: {0}")]
    NoNode(String),
}

/// When a certificate is meant to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: DateTime<Utc>,
    /// Last second.
    pub not_after: DateTime<Utc>,
}

impl Validity {
    /// When to ask for the next one: after a third of its life.
    #[must_use]
    pub fn renew_at(&self) -> DateTime<Utc> {
        self.not_before + (self.not_after - self.not_before) / 3
    }
}

/// The certificates of a PEM text, in order.
pub fn from_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::Unreadable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(Error::Missing);
    }
    Ok(certificates)
}

/// The time for which a certificate was made.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, Error> {
    let parsed = parse(certificate)?;
    let time = |timestamp| {
        DateTime::from_timestamp(timestamp, 0)
            .ok_or_else(|| Error::Unreadable("its time is out of range".to_owned()))
    };
    Ok(Validity {
        not_before: time(parsed.validity().not_before.timestamp())?,
        not_after: time(parsed.validity().not_after.timestamp())?,
    })
}

/// SHA-256 of the SubjectPublicKeyInfo (DER), by which a CA is pinned.
pub fn public_key_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], Error> {
    let parsed = parse(certificate)?;
    Ok(Sha256::digest(parsed.public_key().raw).into())
}

/// The node that a certificate was issued to: its only URI SAN, as SPIFFE demands.
///
/// # Errors
/// When there is none, more than one, or it is no node of ours.
pub fn spiffe_id(certificate: &CertificateDer<'_>) -> Result<SpiffeId, Error> {
    let parsed = parse(certificate)?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| Error::Unreadable(error.to_string()))?
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => uri
            .parse()
            .map_err(|error: protocol::join::InvalidSpiffeId| Error::NoNode(error.to_string())),
        (None, _) => Err(Error::NoNode("it has no URI among its names".to_owned())),
        (Some(_), Some(_)) => Err(Error::NoNode("it has several URIs".to_owned())),
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(Error::Unreadable("bytes follow its end".to_owned())),
        Err(error) => Err(Error::Unreadable(error.to_string())),
    }
}
