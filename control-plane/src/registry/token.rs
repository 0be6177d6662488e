//! Signs tokens that docker-registry 2.8 believes: ES256, named by the key's libtrust id. The
//! registry trusts the key itself (its `rootcertbundle` holds the key's certificate), so a token
//! does not depend on the certificate's expiry.

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use uuid::Uuid;

use protocol::join::RegistryToken;

use super::{
    ISSUER, SERVICE,
    key_id::key_id,
    scope::{Action, Scope},
};
use crate::ca::RegistryKey;

/// Long enough for one large layer; the engine asks again for the next.
const LIFETIME: TimeDelta = TimeDelta::minutes(15);
/// For clocks of registries that are behind ours.
const BACKDATED: TimeDelta = TimeDelta::seconds(60);

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The platform's registry key is not what it should be.
    #[error(
        "the platform's registry key can't be used: {0}; run `control-plane migrate`, or restore the key"
    )]
    Key(String),
    /// Signing failed.
    #[error("a registry token could not be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// Signs tokens.
pub struct Issuer {
    header: Header,
    key: EncodingKey,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    sub: &'a str,
    aud: &'static str,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    access: Vec<Access>,
}

#[derive(Serialize)]
struct Access {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    actions: Vec<Action>,
}

impl Issuer {
    /// From the platform's registry key.
    ///
    /// # Errors
    /// When it is not an elliptic-curve key with its certificate.
    pub fn new(key: &RegistryKey) -> Result<Self, Error> {
        let certificate = leaf(&key.chain_pem)?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key_id(&certificate));
        Ok(Self {
            header,
            key: EncodingKey::from_ec_pem(key.key_pem.as_bytes())?,
        })
    }

    /// A token for `subject` with exactly these scopes; with none it is good for `GET /v2/` only.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue(
        &self,
        subject: &str,
        scopes: &[Scope],
        now: DateTime<Utc>,
    ) -> Result<RegistryToken, Error> {
        let claims = Claims {
            iss: ISSUER,
            sub: subject,
            aud: SERVICE,
            exp: (now + LIFETIME).timestamp(),
            nbf: (now - BACKDATED).timestamp(),
            iat: now.timestamp(),
            jti: Uuid::new_v4().to_string(),
            access: scopes.iter().map(access).collect(),
        };
        Ok(RegistryToken {
            token: jsonwebtoken::encode(&self.header, &claims, &self.key)?,
            expires_in_seconds: LIFETIME.num_seconds().unsigned_abs(),
        })
    }
}

fn access(scope: &Scope) -> Access {
    Access {
        kind: "repository",
        name: scope.repository.to_string(),
        actions: scope.actions.iter().copied().collect(),
    }
}

/// The public key (DER) of the first certificate.
fn leaf(chain_pem: &str) -> Result<Vec<u8>, Error> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(chain_pem.as_bytes())
        .map_err(|e| Error::Key(e.to_string()))?;
    let certificate = pem.parse_x509().map_err(|e| Error::Key(e.to_string()))?;
    Ok(certificate.public_key().raw.to_vec())
}
