//! What can go wrong between a program and the API, told apart so that a person can be told what
//! to do: nobody there, somebody else there, a certificate nobody vouches for, or a refusal.

use std::{error::Error as StdError, io, time::Duration};

use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use url::Url;

use crate::problem::Problem;

/// Longest body of a refusal that is read.
const PROBLEM_MAX: usize = 256 * 1024;

/// Why a request gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("could not reach {}: {reason}", shown(.address))]
    Unreachable {
        /// The API.
        address: Url,
        /// Such as "connection refused".
        reason: String,
    },
    /// Somebody is there, with a certificate that no trusted authority signed.
    #[error("could not trust {}: {reason}", shown(.address))]
    Untrusted {
        /// The API.
        address: Url,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// Connected, and then silence.
    #[error("{} accepted the request and did not answer in time", shown(.address))]
    Silent {
        /// The API.
        address: Url,
    },
    /// The connection ended within an answer.
    #[error("the answer of {} broke off: {reason}", shown(.address))]
    Interrupted {
        /// The API.
        address: Url,
        /// Such as "connection reset".
        reason: String,
    },
    /// The API refused, and says why.
    #[error("{}", .problem.detail)]
    Refused {
        /// RFC 9457.
        problem: Box<Problem>,
        /// From `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Something answers there that is not this API.
    #[error("{} answered {status} without a problem document", shown(.address))]
    Foreign {
        /// The API.
        address: Url,
        /// The answer's status.
        status: StatusCode,
    },
    /// An answer of a shape that this version does not know.
    #[error("could not read the answer to {path}: {source}")]
    Decode {
        /// The request's path.
        path: String,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// The request's body can't be written as JSON.
    #[error("could not write the request as JSON: {0}")]
    Encode(serde_json::Error),
    /// Not a path below the API's address.
    #[error("\"{0}\" is not a path of the API, such as /v1/me")]
    Path(String),
    /// The given authority is unusable.
    #[error("the CA is not a PEM certificate: {0}")]
    Authority(String),
}

impl Error {
    /// The API's stable code, when it was the API that refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { problem, .. } => Some(&problem.code),
            _ => None,
        }
    }

    /// The status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { problem, .. } => StatusCode::from_u16(problem.status).ok(),
            Self::Foreign { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same request may well succeed in a moment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } => true,
            Self::Refused { .. } | Self::Foreign { .. } => matches!(
                self.status().map(|status| status.as_u16()),
                Some(429 | 502 | 503 | 504)
            ),
            _ => false,
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn of_request(address: &Url, error: &reqwest::Error) -> Self {
        let address = address.clone();
        if let Some(reason) = distrust(error) {
            return Self::Untrusted { address, reason };
        }
        if error.is_timeout() && !error.is_connect() {
            return Self::Silent { address };
        }
        let reason = root_cause(error);
        if error.is_connect() {
            Self::Unreachable { address, reason }
        } else {
            Self::Interrupted { address, reason }
        }
    }

    pub(super) fn interrupted(address: &Url, error: &reqwest::Error) -> Self {
        Self::Interrupted {
            address: address.clone(),
            reason: root_cause(error),
        }
    }

    pub(super) async fn of_answer(address: &Url, answer: Response) -> Self {
        let status = answer.status();
        let retry_after = retry_after(&answer);
        let foreign = Self::Foreign {
            address: address.clone(),
            status,
        };
        if answer.content_length().unwrap_or(0) > PROBLEM_MAX as u64 {
            return foreign;
        }
        let Ok(body) = answer.bytes().await else {
            return foreign;
        };
        match serde_json::from_slice(&body) {
            Ok(problem) => Self::Refused {
                problem: Box::new(problem),
                retry_after,
            },
            Err(_) => foreign,
        }
    }
}

fn shown(address: &Url) -> &str {
    address.as_str().trim_end_matches('/')
}

/// Waits longer than a person would are not waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// What TLS found wrong with the server's certificate. `io::Error` hides its inner error from
/// `source()`, so it is opened by hand.
fn distrust(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(rustls::Error::InvalidCertificate(why)) = current.downcast_ref() {
            return Some(certificate_fault(why));
        }
        let inner = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    None
}

fn certificate_fault(fault: &rustls::CertificateError) -> String {
    use rustls::CertificateError as Fault;
    match fault {
        Fault::UnknownIssuer => {
            "its certificate was signed by an authority that is not trusted here".to_owned()
        }
        Fault::Expired | Fault::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is this machine's clock right?".to_owned()
        }
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => {
            "its certificate is for another name".to_owned()
        }
        Fault::BadSignature => {
            "its certificate was signed by another key of that authority".to_owned()
        }
        other => format!("its certificate is not acceptable ({other})"),
    }
}

pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    // "Connection refused (os error 111)" says nothing more to a person than its first half.
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untrusted_certificate_is_found_inside_io_errors() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert!(distrust(&wrapped).unwrap().contains("not trusted here"));
        assert_eq!(distrust(&io::Error::other("reset")), None);
    }

    #[test]
    fn causes_are_shown_without_error_numbers() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(root_cause(&refused), "connection refused");
    }
}
