//! `/v1/domains`: hostnames that lead to a service.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::id::{DomainId, ServiceId};

/// A hostname of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    /// The domain.
    pub id: DomainId,
    /// Where its requests go.
    pub service_id: ServiceId,
    /// Lower case; `*.` in front for a wildcard.
    pub hostname: String,
    /// Who chose it.
    pub kind: DomainKind,
    /// Since when its DNS is known to lead here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<DateTime<Utc>>,
    /// Why it isn't verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How it gets its certificate.
    #[serde(default)]
    pub tls: DomainTls,
    /// The certificate that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<DomainCertificate>,
    /// The next one, while it is on order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_order: Option<CertificateOrder>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// Who chose a hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DomainKind {
    /// Under the platform's domain, given with the service.
    Default,
    /// The tenant's own.
    Custom,
}

/// How a hostname gets its certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DomainTls {
    /// From the certificate authorities that the platform uses; renewed by itself. Names below the platform's domain share
    /// one of the platform's own.
    #[default]
    Automatic,
    /// From the platform's own authority, which only those trust who know it; renewed by itself.
    Internal,
    /// As it was uploaded.
    Uploaded,
}

/// The certificate of a hostname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DomainCertificate {
    /// Who made it: `acme`, `internal` or `uploaded`.
    pub issuer: String,
    /// By ACME: what the platform calls the authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// When it ends.
    pub not_after: DateTime<Utc>,
    /// From when on a newer one is ordered; absent when nothing happens by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<DateTime<Utc>>,
}

/// An order for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateOrder {
    /// How far it is: `waiting`, `published`, `validating` or `finalizing`.
    pub step: String,
    /// When it goes on.
    pub next_at: DateTime<Utc>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<CertificateProblem>,
}

/// Why a hostname has no certificate yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateProblem {
    /// `certificate_dns`, `certificate_caa`, …
    pub code: String,
    /// For people: what was found, and what to do.
    pub message: String,
}

/// Serves a hostname with a certificate of one's own.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetDomainCertificate {
    /// PEM, leaf first, its issuers behind it.
    #[schema(max_length = 100_000)]
    pub chain: String,
    /// The private key, PEM (PKCS#8). It is never shown again.
    #[schema(max_length = 20_000)]
    pub key: String,
}

/// Adds a hostname to a service.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDomain {
    /// `www.example.com`, or `*.example.com`.
    #[schema(max_length = 253)]
    pub hostname: String,
    /// How it gets its certificate: `automatic`, or `internal` for private names.
    #[serde(default)]
    pub tls: DomainTls,
}
