//! The platform's CA: identities of nodes and certificates of hosts.

use std::sync::Arc;

use domain::id::{CertificateId, NodeId};
use link::identity::{Credentials, Identity};
use protocol::{
    feed::{SecretFrame, SecretRef, signature::Signer},
    item::{CertificateItem, GlobalRouteItem},
    join::{self, Role, SpiffeId},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    feed_key: Vec<u8>,
}

impl Ca {
    pub fn new() -> Self {
        telemetry::init_crypto();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
            feed_key: Signer::generate_pkcs8().unwrap(),
        }
    }

    pub fn node(&self, region: &str, role: Role) -> Identity {
        self.node_valid(region, role, 1)
    }

    /// `days` may be negative: an expired certificate.
    pub fn node_valid(&self, region: &str, role: Role, days: i64) -> Identity {
        let id = SpiffeId {
            trust_domain: "railhead.test".into(),
            region: region.parse().unwrap(),
            role,
            node_id: NodeId::new(),
        };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into().unwrap())];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let end = std::time::SystemTime::now();
        let day = std::time::Duration::from_secs(86_400);
        let shifted = if days < 0 {
            end - day * days.unsigned_abs() as u32
        } else {
            end + day * days as u32
        };
        params.not_before = (shifted - day * 2).into();
        params.not_after = shifted.into();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let identity = join::Identity {
            node_id: id.node_id,
            region: id.region,
            role,
            certificate,
            ca: self.pem.clone(),
            feed_keys: vec![self.feed_public_key()],
        };
        Identity::new(Credentials::new(identity, Arc::new(key)).unwrap())
    }

    pub fn feed_key(&self) -> &[u8] {
        &self.feed_key
    }

    pub fn feed_public_key(&self) -> String {
        Signer::from_pkcs8(&self.feed_key).unwrap().public_key()
    }

    /// By which a join token names the CA.
    pub fn sha256(&self) -> [u8; 32] {
        let der = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        link::tls::certificate::public_key_sha256(&der).unwrap()
    }

    /// A server at this address: leaf and CA, as nodes that join expect it.
    pub fn server(&self, name: &str) -> rustls::ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let ca = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone(), ca], key)
            .unwrap()
    }

    /// Answers a node's request for a certificate.
    pub fn sign(&self, csr: &str, id: &SpiffeId) -> join::Identity {
        let mut request = CertificateSigningRequestParams::from_pem(csr).unwrap();
        request.params.subject_alt_names = vec![SanType::URI(id.to_string().try_into().unwrap())];
        request.params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        join::Identity {
            node_id: id.node_id,
            region: id.region.clone(),
            role: id.role,
            certificate: request.signed_by(&self.issuer).unwrap().pem(),
            ca: self.pem.clone(),
            feed_keys: vec![self.feed_public_key()],
        }
    }

    pub fn host(&self, names: &[&str]) -> (GlobalRouteItem, SecretFrame) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names.clone()).unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let id = CertificateId::new();
        let reference = SecretRef {
            key: format!("certificate/{id}"),
            version: 1,
        };
        let secret = SecretFrame {
            key: reference.key.clone(),
            version: 1,
            value: key.serialize_pem(),
        };
        let item = GlobalRouteItem::Certificate(CertificateItem {
            id,
            names,
            chain,
            key: reference,
            service_id: None,
        });
        (item, secret)
    }
}
