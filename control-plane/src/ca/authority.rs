//! Issues certificates: for nodes (SPIFFE id, 24 h), for servers of the platform, and for hostnames
//! below the platform's domain.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::name::Name;
use protocol::join::SpiffeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
    SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};

use super::Error;

const CA_LIFETIME: TimeDelta = TimeDelta::days(3_650);
pub(super) const SERVER_LIFETIME: TimeDelta = TimeDelta::days(90);
/// Servers' certificates are renewed when half of their life is left. Edges serve on with what they have while
/// the control plane is away: for a month at least, even when that begins right before the renewal.
pub const SERVER_RENEWAL: TimeDelta = TimeDelta::days(45);
const NODE_LIFETIME: TimeDelta = TimeDelta::hours(24);

/// For clocks that are behind ours.
const BACKDATED: TimeDelta = TimeDelta::minutes(5);

/// The certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Issued {
    /// Leaf first, then the CA, PEM.
    pub chain_pem: String,
    /// PKCS#8, PEM.
    pub key_pem: String,
    pub not_after: DateTime<Utc>,
}

/// A node's certificate; its key never left the node.
#[derive(Debug, Clone)]
pub struct NodeCertificate {
    pub pem: String,
    /// Hexadecimal.
    pub serial: String,
    pub not_after: DateTime<Utc>,
    /// `SubjectPublicKeyInfo`, DER.
    pub public_key: Vec<u8>,
}

impl Authority {
    /// Makes a new authority: its certificate and key, both PEM.
    pub fn generate(platform_domain: &str) -> Result<(String, String), Error> {
        let key = KeyPair::generate()?;
        let mut params = params(CA_LIFETIME);
        params.distinguished_name = named(&format!("Railhead CA of {platform_domain}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// Reads what [`Self::generate`] made.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key_pem)?;
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| Error::Stored(error.to_string()))?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&der, key)?,
            pem: certificate_pem.to_owned(),
            der,
        })
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// SHA-256 of the `SubjectPublicKeyInfo`, as carried by join tokens.
    pub fn spki_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.issuer.key().subject_public_key_info()).into()
    }

    /// A certificate for DNS names and addresses.
    pub fn issue_server(&self, names: &[String]) -> Result<Issued, Error> {
        let key = KeyPair::generate()?;
        let mut params = params(SERVER_LIFETIME);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.distinguished_name = named(names.first().map_or("railhead", String::as_str));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            chain_pem: format!("{}{}", certificate.pem(), self.pem),
            key_pem: key.serialize_pem(),
            not_after: expiry(SERVER_LIFETIME),
        })
    }

    /// A node's certificate. Of the request only the public key is taken; what it asks for besides
    /// has no say.
    pub fn sign_node(
        &self,
        request_pem: &str,
        id: &SpiffeId,
        name: &Name,
    ) -> Result<NodeCertificate, Error> {
        let request =
            CertificateSigningRequestParams::from_pem(request_pem).map_err(Error::Request)?;
        let serial: [u8; 16] = rand::random();
        let mut params = params(NODE_LIFETIME);
        // A serial number is a positive integer (RFC 5280 §4.1.2.2).
        let serial = serial.map(|byte| byte & 0x7f);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = named(name.as_str());
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&request.public_key, &self.issuer)?;
        Ok(NodeCertificate {
            pem: certificate.pem(),
            serial: hex::encode(serial),
            not_after: expiry(NODE_LIFETIME),
            public_key: request.public_key.subject_public_key_info(),
        })
    }
}

/// The `SubjectPublicKeyInfo` (DER) of a request, its signature checked.
pub fn requested_key(request_pem: &str) -> Result<Vec<u8>, Error> {
    let request = CertificateSigningRequestParams::from_pem(request_pem).map_err(Error::Request)?;
    Ok(request.public_key.subject_public_key_info())
}

fn params(lifetime: TimeDelta) -> CertificateParams {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(Utc::now() - BACKDATED);
    params.not_after = epoch + since_epoch(expiry(lifetime));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn expiry(lifetime: TimeDelta) -> DateTime<Utc> {
    Utc::now() + lifetime
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Railhead");
    // X.520: at most 64 characters.
    let common_name: String = common_name.chars().take(64).collect();
    name.push(DnType::CommonName, common_name);
    name
}

fn since_epoch(at: DateTime<Utc>) -> Duration {
    Duration::from_secs(u64::try_from(at.timestamp()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use domain::id::NodeId;
    use protocol::join::Role;
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

    use super::*;

    fn authority() -> Authority {
        let (certificate, key) = Authority::generate("railhead.test").unwrap();
        Authority::from_pem(&certificate, &key).unwrap()
    }

    fn spiffe() -> SpiffeId {
        SpiffeId {
            trust_domain: "railhead.test".into(),
            region: "eu-west".parse().unwrap(),
            role: Role::Agent,
            node_id: NodeId::new(),
        }
    }

    #[test]
    fn a_node_gets_its_own_identity_whatever_it_asks_for() {
        let key = KeyPair::generate().unwrap();
        let mut asked = CertificateParams::new(vec!["api.railhead.test".to_owned()]).unwrap();
        asked.distinguished_name = named("somebody else");
        let request = asked.serialize_request(&key).unwrap().pem().unwrap();
        let id = spiffe();
        let issued = authority()
            .sign_node(&request, &id, &"n1".parse().unwrap())
            .unwrap();
        let der = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        let id = id.to_string();
        assert_eq!(names.value.general_names, [GeneralName::URI(&id)]);
        assert_eq!(certificate.public_key().raw, issued.public_key);
        assert_eq!(issued.public_key, requested_key(&request).unwrap());
        assert!(!certificate.is_ca());
    }

    #[test]
    fn rubbish_is_no_request() {
        for request in [
            "",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        ] {
            let refused = authority().sign_node(request, &spiffe(), &"n1".parse().unwrap());
            assert!(matches!(refused, Err(Error::Request(_))));
        }
    }

    #[test]
    fn the_hash_of_join_tokens_is_that_of_the_certificates_key() {
        let authority = authority();
        let (_, certificate) = X509Certificate::from_der(authority.der()).unwrap();
        let expected: [u8; 32] = Sha256::digest(certificate.public_key().raw).into();
        assert_eq!(authority.spki_sha256(), expected);
    }
}
