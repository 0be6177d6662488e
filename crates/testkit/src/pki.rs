//! A platform's CA without a control plane, and the certificates that it gives out.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use domain::id::{JoinTokenId, NodeId};
use link::identity::{Credentials, Identity};
use protocol::{
    join::{self, Role, SpiffeId},
    join_token::JoinToken,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Sixty minutes.
pub const HOUR: Duration = Duration::from_secs(3_600);

/// A certificate authority.
pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// How long a certificate is good, around now.
#[derive(Clone, Copy)]
pub struct Life {
    /// Since when.
    pub began_ago: Duration,
    /// How long from then on.
    pub lasts: Duration,
}

impl Life {
    /// Good since a minute, for a day.
    pub const FRESH: Self = Self {
        began_ago: Duration::from_secs(60),
        lasts: Duration::from_secs(86_400),
    };
    /// Over since nine days.
    pub const EXPIRED: Self = Self {
        began_ago: Duration::from_secs(10 * 86_400),
        lasts: Duration::from_secs(86_400),
    };
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// A new authority.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + (now() - HOUR * 24 * 365);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Self { issuer }
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Hash of its public key, as join tokens carry it.
    pub fn sha256(&self) -> [u8; 32] {
        link::tls::certificate::public_key_sha256(self.issuer.der()).unwrap()
    }

    /// For the control plane: leaf and CA.
    pub fn server(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        apply(&mut params, Life::FRESH);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![leaf.der().clone(), self.issuer.der().clone()];
        (chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// A node that has joined.
    pub fn identity(&self, id: &SpiffeId, life: Life) -> Identity {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::new(Vec::<String>::new()).unwrap();
        let csr = request.serialize_request(&key).unwrap().pem().unwrap();
        let identity = join::Identity {
            node_id: id.node_id,
            region: id.region.clone(),
            role: id.role,
            certificate: self.node(&csr, id, life),
            ca: self.pem(),
            feed_keys: Vec::new(),
        };
        Identity::new(Credentials::new(identity, Arc::new(key)).unwrap())
    }

    /// For a node's request.
    pub fn node(&self, csr: &str, id: &SpiffeId, life: Life) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(csr).unwrap();
        apply(&mut request.params, life);
        let uri = id.to_string().try_into().unwrap();
        request.params.subject_alt_names = vec![SanType::URI(uri)];
        request.signed_by(&self.issuer).unwrap().pem()
    }
}

/// With which a node joins where the CA's public key has this hash.
pub fn join_token(ca_sha256: [u8; 32]) -> JoinToken {
    JoinToken {
        id: JoinTokenId::new(),
        secret: "ab".repeat(32),
        ca_sha256,
    }
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
}

fn apply(params: &mut CertificateParams, life: Life) {
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + (now() - life.began_ago);
    params.not_after = params.not_before + life.lasts;
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
}

/// A node of us-east that nobody knows yet.
pub fn spiffe_id(role: Role) -> SpiffeId {
    SpiffeId {
        trust_domain: "railhead.test".to_owned(),
        region: "us-east".parse().unwrap(),
        role,
        node_id: NodeId::new(),
    }
}
