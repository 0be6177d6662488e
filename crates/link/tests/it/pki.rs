//! A CA and the certificates it gives out.

use std::time::{Duration, SystemTime};

use domain::id::NodeId;
use protocol::join::{Role, SpiffeId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub const HOUR: Duration = Duration::from_secs(3_600);

pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// How long a certificate is good, around now.
#[derive(Clone, Copy)]
pub struct Life {
    pub began_ago: Duration,
    pub lasts: Duration,
}

impl Life {
    pub const FRESH: Self = Self {
        began_ago: Duration::from_secs(60),
        lasts: Duration::from_secs(86_400),
    };
    pub const EXPIRED: Self = Self {
        began_ago: Duration::from_secs(10 * 86_400),
        lasts: Duration::from_secs(86_400),
    };
}

impl Pki {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + (now() - HOUR * 24 * 365);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Self { issuer }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

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

    /// For a node's request.
    pub fn node(&self, csr: &str, id: &SpiffeId, life: Life) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(csr).unwrap();
        apply(&mut request.params, life);
        let uri = id.to_string().try_into().unwrap();
        request.params.subject_alt_names = vec![SanType::URI(uri)];
        request.signed_by(&self.issuer).unwrap().pem()
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

pub fn spiffe_id(role: Role) -> SpiffeId {
    SpiffeId {
        trust_domain: "railhead.test".to_owned(),
        region: "us-east".parse().unwrap(),
        role,
        node_id: NodeId::new(),
    }
}
