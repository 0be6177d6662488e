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
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};

pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    feed_key: String,
}

impl Ca {
    pub fn new() -> Self {
        telemetry::init_crypto();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let signer = Signer::from_pkcs8(&Signer::generate_pkcs8().unwrap()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            pem,
            feed_key: signer.public_key(),
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
            feed_keys: vec![self.feed_key.clone()],
        };
        Identity::new(Credentials::new(identity, Arc::new(key)).unwrap())
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
        });
        (item, secret)
    }
}
